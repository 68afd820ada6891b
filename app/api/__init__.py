"""REST: thin blueprints that parse, call and answer."""
