-- nearest.lua: "did you mean": the known name with the fewest slips of the finger from a given one, as base/nearest.c counts
-- them.
local nearest = {}

-- Letters inserted, left out, changed, or swapped with their neighbour (optimal string alignment).
local function distance(a, b)
  local before, last = {}, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, last = last, row
  end
  return last[#b]
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
