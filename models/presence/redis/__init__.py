"""The only code that touches redis-py.

Read it in this order:

- `backend`: finds the server of a shard, and asks many shards at once
- `roundtrip`: sends commands to one server and reads the replies
- `commands`: the commands, and the Lua scripts that they run
- `client`: connections and pools, made from the settings
- `errors`: which errors of redis-py mean that Redis is unavailable
"""
