"""HCL, version 1: the subset that configuration files, policies and configuration entries are written in.

    datacenter = "dc1"                       scalars: texts, numbers, true, false
    ports { http = 8500 }                    a block is a map; a block written twice is a list of maps
    response_headers { "X-Frame" = "DENY" }  keys may be quoted (version 2 of the language refuses that)
    key_prefix "app/" { policy = "write" }   labels nest: {"key_prefix": {"app/": {"policy": "write"}}}
    retry_join = ["a", "b"]                  lists and maps, with commas or line ends between the items
    script = <<EOF                           heredocs, <<-EOF to strip the indentation

Expressions, functions and interpolation do not exist; `${...}` in a text is kept as it is written. A scalar key may be
written once. Sans-IO. Source: github.com/hashicorp/hcl v1, README and scanner.
"""

DEPTH_MAX = 64
"""Nesting. Real files need five; whoever walks through the result recursively must not exhaust the stack."""


def parse(text: str) -> dict[str, object]:
    """Return the map that `text` describes; raises InvalidRequest with line and column."""
    from base.hcl_grammar import read  # the parser library is loaded by those only who have HCL to read

    return read(text)
