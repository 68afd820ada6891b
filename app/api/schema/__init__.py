"""The schemas of REST: what routes take and give, and the OpenAPI document of it."""
