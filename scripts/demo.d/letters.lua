-- letters.lua: what `tidemill dlq list --json` prints -> lines of REASON, RULE (or "-"), MESSAGE, between tabs.
local ESCAPES = { n = " ", t = " ", r = " ", b = " ", f = " " }

-- The text of a member of the first level. Enough for the lines of dlq, whose "fields" come before and hold no such name
-- unescaped.
local function member(line, name)
  local text = line:match('"' .. name .. '":"(.-[^\\])"') or ""
  return (text:gsub("\\u%x%x%x%x", "?"):gsub("\\(.)", function(c)
    return ESCAPES[c] or c
  end))
end

for line in io.lines() do
  local rest = line:match '"rule":".*$' or line
  local rule = rest:match '^"rule":"([^"]*)"'
  print(table.concat({ member(rest, "reason"), rule ~= "" and rule or "-", member(rest, "message") }, "\t"))
end
