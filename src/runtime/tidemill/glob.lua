-- glob.lua: Redis' own glob patterns (`*`, `?`, `[a-z]`, `[^x]`, `\`), as SCAN MATCH and KEYS understand them.
local glob = {}

---True when `name` is a pattern rather than the name of one key.
function glob.is_pattern(name)
  return name:find "[*?%[]" ~= nil
end

local function literal(character)
  return (character:gsub("[^%w]", "%%%0"))
end

---@param pattern string
---@return fun(name: string): boolean
function glob.matcher(pattern)
  local parts, i = { "^" }, 1
  while i <= #pattern do
    local character = pattern:sub(i, i)
    if character == "*" then
      parts[#parts + 1] = ".*"
      while pattern:sub(i + 1, i + 1) == "*" do i = i + 1 end
    elseif character == "?" then
      parts[#parts + 1] = "."
    elseif character == "[" and pattern:find("]", i + 1, true) then
      local stop = pattern:find("]", i + 1, true)
      local class = pattern:sub(i + 1, stop - 1)
      local negated = class:sub(1, 1) == "^"
      class = (negated and class:sub(2) or class):gsub("[%%%]%^]", "%%%0")
      parts[#parts + 1] = "[" .. (negated and "^" or "") .. class .. "]"
      i = stop
    else
      if character == "\\" and i < #pattern then
        i = i + 1
        character = pattern:sub(i, i)
      end
      parts[#parts + 1] = literal(character)
    end
    i = i + 1
  end
  parts[#parts + 1] = "$"
  local compiled = table.concat(parts)
  return function(name) return name:find(compiled) ~= nil end
end

return glob
