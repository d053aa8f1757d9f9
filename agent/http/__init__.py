"""The HTTP API of an agent, as every client of it knows it.

How a request travels: `listener.py` owns the sockets and one pump (an edge-triggered epoll) that serves all plain
connections; `connection.py` holds one connection; `reader.py` (Sans-IO) turns bytes into requests and refuses what is
malformed or too large; `dispatch.py` keeps the order in which a request is judged (blocked, method, handler) and finds
the route in `registry.py`; `<noun>.py` translates between HTTP and the delegate's calls; `response.py` makes bytes.

A handler is a plain function that returns a `Response`, or a coroutine of one where it must wait. As long as nothing
waits, a request is received, answered and sent inside the pump: no task, no cancel scope, no checkpoint. The first
request of a connection that must wait starts the connection's own task, its lane; it parks between requests.

Invariants:
* Answers leave in the order of their requests; at most one request of a connection is being handled.
* Nothing is received for a connection while a request of it is being handled, so what is pipelined stays in the kernel.
* A connection has one deadline at any time (idle, head, body, write or call), which the listener's sweeper looks at.
* A blocking query whose client hangs up is cancelled; a write never is.
* After a refusal the connection is closed, lingering so that the client can read the refusal first.
"""
