"""The nouns that travel between processes and are stored: frozen types, one file a noun.

Fields are snake_case here; the names that HTTP clients see are made in `agent/http`. A type that is logged
never validates itself on construction (a replay must accept whatever was once accepted), and its new fields go
to the end and have defaults. Requests say what is wrong with them by `complaint()`, asked at the border.
"""
