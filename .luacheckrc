-- How luacheck reads our Lua: `luacheck .` looks at all of it.
std = "luajit"
max_line_length = 140
exclude_files = { "build/**", "node_modules/**" }

-- What a handler is called with is not its choice.
files["examples"] = { unused_args = false }
files["spec"] = { std = "luajit+busted", unused_args = false }
files["**/*_spec.lua"] = { std = "luajit+busted", unused_args = false }
