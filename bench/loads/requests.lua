-- Any requests for wrk, taken in turn, and the result as one line of JSON.
-- Argument after "--": a file with one request a line: method, path and body, separated by tabs. "{pass}" in a body
-- becomes the number of the pass through the file, so that a write changes something each time.
local threads = 0

function setup(thread)
    thread:set("seat", threads)
    threads = threads + 1
end

function init(arguments)
    rows = {}
    for line in io.lines(arguments[1]) do
        local method, path, body = line:match("^([^\t]*)\t([^\t]*)\t(.*)$")
        rows[#rows + 1] = {method, path, body, body:find("{pass}", 1, true) ~= nil}
    end
    turn = seat * 7919
end

function request()
    local row = rows[turn % #rows + 1]
    local body = row[3]
    if row[4] then
        body = body:gsub("{pass}", tostring(math.floor(turn / #rows)))
    end
    turn = turn + 1
    if body == "" then
        return wrk.format(row[1], row[2])
    end
    return wrk.format(row[1], row[2], nil, body)
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\nRESULT {"requests": %d, "duration_s": %f, "failed": %d, "p50_ms": %f, "p99_ms": %f, "max_ms": %f}\n',
        summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
