-- glob.lua: Redis' own glob patterns (`*`, `?`, `[a-z]`, `[^x]`, `\`), as SCAN MATCH and KEYS understand them.
--
-- Not by way of Lua patterns: their `.*` tries every way to match, so that `*a*a*a*b` on a long name takes for ever. Here a
-- star that failed is only ever tried again one byte further, and only the last one.
local glob = {}

local STAR, ANY = "*", "?"

---True when `name` is a pattern rather than the name of one key.
---@param name string
---@return boolean
function glob.is_pattern(name)
  return name:find "[*?%[]" ~= nil
end

-- The class that begins behind the `[` at `i - 1`: a set of bytes, and where it ends. As in Redis, a class that is never closed
-- goes on to the end of the pattern, `[]` fits nothing and `[^]` fits everything.
local function read_class(pattern, i)
  local set, negated = {}, false
  if pattern:sub(i, i) == "^" then
    negated = true
    i = i + 1
  end
  while i <= #pattern do
    local character = pattern:sub(i, i)
    if character == "]" then break end
    if character == "\\" and i < #pattern then
      i = i + 1
      set[pattern:byte(i)] = true
    elseif pattern:sub(i + 1, i + 1) == "-" and i + 2 <= #pattern then
      local low, high = pattern:byte(i), pattern:byte(i + 2)
      if low > high then low, high = high, low end
      for byte = low, high do set[byte] = true end
      i = i + 2
    else
      set[pattern:byte(i)] = true
    end
    i = i + 1
  end
  if negated then
    for byte = 0, 255 do set[byte] = not set[byte] or nil end
  end
  return set, i
end

-- The pattern as a list: STAR, ANY, a byte, or a set of bytes.
local function read_pattern(pattern)
  local parts, i = {}, 1
  while i <= #pattern do
    local character = pattern:sub(i, i)
    if character == STAR then
      if parts[#parts] ~= STAR then parts[#parts + 1] = STAR end
    elseif character == ANY then
      parts[#parts + 1] = ANY
    elseif character == "[" then
      parts[#parts + 1], i = read_class(pattern, i + 1)
    else
      if character == "\\" and i < #pattern then i = i + 1 end
      parts[#parts + 1] = pattern:byte(i)
    end
    i = i + 1
  end
  return parts
end

local function fits(part, byte)
  if part == ANY or part == byte then return true end
  return type(part) == "table" and part[byte] == true
end

---@param pattern string
---@return fun(name: string): boolean matches
function glob.matcher(pattern)
  local parts = read_pattern(pattern)
  return function(name)
    local at, place, star, star_at = 1, 1, nil, nil
    while at <= #name do
      local part = parts[place]
      if part == STAR then
        star, star_at = place, at
        place = place + 1
      elseif part ~= nil and fits(part, name:byte(at)) then
        at, place = at + 1, place + 1
      elseif star then
        star_at = star_at + 1
        at, place = star_at, star + 1
      else
        return false
      end
    end
    while parts[place] == STAR do place = place + 1 end
    return parts[place] == nil
  end
end

return glob
