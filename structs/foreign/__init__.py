"""How our records look to foreign members: one file a noun, a row a method, read in both directions.

Foreign members send maps with field names of their own, flattened where ours nest, and with the zero value for
whatever is missing. `fields.py` holds the parts that tables are made of, `methods.py` all rows.

Source: RPC wire format, sections 4, 5 and 9.
"""
