"""Finding the process behind a connection."""

import os
import socket
import subprocess
import sys

from jepsen.network.sockets import has_socket, inode_of, owner_of

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0100007F:1F90 0200007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 20 4 30 10 -1
   2: 0200007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 20 4 30 10 -1
   3: 0200007F:9C41 0100007F:1F90 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0
"""


def test_the_socket_is_found_by_both_of_its_ends() -> None:
    assert inode_of(("127.0.0.2", 40000), ("127.0.0.1", 8080), TABLE) == "333"
    assert inode_of(("127.0.0.1", 8080), ("127.0.0.2", 40000), TABLE) == "222"


def test_what_is_not_there_or_closed_already_has_no_inode() -> None:
    assert inode_of(("127.0.0.2", 40002), ("127.0.0.1", 8080), TABLE) == ""
    assert inode_of(("127.0.0.2", 40001), ("127.0.0.1", 8080), TABLE) == ""


def test_a_dialler_is_told_from_another_process() -> None:
    dial = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with subprocess.Popen([sys.executable, "-c", dial, str(port)], stdin=subprocess.PIPE) as child:
            theirs, _ = listening.accept()
            with theirs, socket.create_connection(("127.0.0.1", port)) as ours:
                pids = {"child": child.pid, "parent": os.getpid()}
                assert owner_of(theirs.getpeername(), theirs.getsockname(), pids) == "child"
                assert owner_of(ours.getsockname(), ours.getpeername(), pids) == "parent"
                assert owner_of(theirs.getpeername(), theirs.getsockname(), {"parent": os.getpid()}) is None
            assert child.stdin is not None
            child.stdin.close()


def test_a_process_that_is_gone_has_no_sockets() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert not has_socket(child.pid, "1")
