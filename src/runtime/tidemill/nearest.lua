-- nearest.lua: "did you mean": the known name with the fewest edits (Levenshtein) from a given one.
local nearest = {}

local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(above + 1, row[j - 1] + 1, diagonal + cost)
      diagonal = above
    end
  end
  return row[#b]
end

---@param names string[]
---@return string|nil name  none is near enough when nil
function nearest.name(given, names)
  local best, least = nil, math.max(1, math.floor(#given / 3)) + 1
  for _, name in ipairs(names) do
    local d = distance(given, name)
    if d < least then best, least = name, d end
  end
  return best
end

---The end of an error message: "; did you mean `x`?", or the list of what is known.
function nearest.hint(given, names)
  local name = nearest.name(given, names)
  if name then return ("; did you mean `%s`?"):format(name) end
  return "; known are " .. table.concat(names, ", ")
end

return nearest
