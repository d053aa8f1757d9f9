-- The requests of one KV load for wrk, and its result as one line of JSON.
-- Arguments after "--": method, query string (may be empty), count of keys, bytes a value.
local counter = 0
local threads = 0

function setup(thread)
    thread:set("seat", threads)
    threads = threads + 1
end

function init(arguments)
    method = arguments[1]
    query = arguments[2] or ""
    keys_count = tonumber(arguments[3])
    value = string.rep("v", tonumber(arguments[4]))
    counter = seat * 7919
    if query ~= "" then query = "?" .. query end
end

function request()
    counter = counter + 1
    local path = "/v1/kv/bench/" .. (counter % keys_count) .. query
    if method == "PUT" then
        return wrk.format("PUT", path, nil, value)
    end
    return wrk.format("GET", path)
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\nRESULT {"requests": %d, "duration_s": %f, "failed": %d, "p50_ms": %f, "p99_ms": %f, "max_ms": %f}\n',
        summary.requests, summary.duration / 1e6,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
