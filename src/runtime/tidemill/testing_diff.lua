-- testing_diff.lua: where what came differs from what a case expects, and how that is shown.
--
-- A difference is { path, expected, got }, both as JSON text: without `got` something is missing, without `expected` something came
-- that was not expected.
local json = require "tidemill.json"
local value = require "tidemill.value"
local pairs = require("tidemill.each").pairs

local diff = {}

local function text_of(v)
  local text, why = json.encode(v)
  return text or "(" .. why .. ")"
end

local function is_absent(v) return v == nil or value.is_null(v) end

-- a.b, a["odd name"], a[1]
local function member(path, key)
  if type(key) == "number" then return ("%s[%d]"):format(path, key) end
  if type(key) == "string" and key:find "^[%a_][%w_]*$" then return path .. "." .. key end
  return ("%s[%s]"):format(path, text_of(tostring(key)))
end
diff.member = member

local function add(list, path, expected, got)
  list[#list + 1] = { path = path, expected = expected ~= nil and text_of(expected) or nil, got = got ~= nil and text_of(got) or nil }
end

local function is_list(t) return getmetatable(t) == "array" or #t > 0 end

local function keys_of(expected, got, is_partial)
  local keys, seen = {}, {}
  for k in pairs(expected) do keys[#keys + 1], seen[k] = k, true end
  for k in pairs(is_partial and {} or got) do
    if not seen[k] then keys[#keys + 1] = k end
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and type(a) ~= "boolean" then return a < b end
    return tostring(a) < tostring(b)
  end)
  return keys
end

---Compares two values, members and all; null is the same as nothing.
---@param list table[]           takes the differences
---@param is_partial? boolean    of the outermost table only the members that `expected` has count
function diff.compare(list, path, expected, got, is_partial)
  if is_absent(expected) and is_absent(got) then return end
  if type(expected) ~= "table" or type(got) ~= "table" or (next(expected) and next(got) and is_list(expected) ~= is_list(got)) then
    if type(expected) == "table" or type(got) == "table" or expected ~= got then
      if is_absent(got) then add(list, path, expected) else add(list, path, is_absent(expected) and value.null or expected, got) end
    end
    return
  end
  for _, key in ipairs(keys_of(expected, got, is_partial)) do
    local e, g = expected[key], got[key]
    if e == nil then add(list, member(path, key), nil, g) else diff.compare(list, member(path, key), e, g) end
  end
end

local function is_same(expected, got, is_partial)
  local list = {}
  diff.compare(list, "", expected, got, is_partial)
  return #list == 0
end

-- Pairs of places of two lists that are the same, in order: the longest such sequence.
local function common(expected, got, is_partial)
  local longest, same = {}, {}
  for i = #expected + 1, 1, -1 do
    longest[i], same[i] = {}, {}
    for j = #got + 1, 1, -1 do
      if i > #expected or j > #got then
        longest[i][j] = 0
      else
        same[i][j] = is_same(expected[i], got[j], is_partial)
        longest[i][j] = same[i][j] and longest[i + 1][j + 1] + 1 or math.max(longest[i + 1][j], longest[i][j + 1])
      end
    end
  end
  local places, i, j = {}, 1, 1
  while i <= #expected and j <= #got do
    if same[i][j] then
      places[#places + 1] = { i, j }
      i, j = i + 1, j + 1
    elseif longest[i + 1][j] >= longest[i][j + 1] then
      i = i + 1
    else
      j = j + 1
    end
  end
  places[#places + 1] = { #expected + 1, #got + 1 }
  return places
end

---Compares two lists. What is the same stays in its place; of the rest, items that are alike are compared, member by member, and
---what is left is missing or was not expected.
---@param alike fun(expected: table, got: table): boolean
function diff.compare_lists(list, path, expected, got, alike, is_partial)
  local i, j = 1, 1
  for _, place in ipairs(common(expected, got, is_partial)) do
    for e = i, place[1] - 1 do
      local partner
      for g = j, place[2] - 1 do
        if alike(expected[e], got[g]) then
          partner = g
          break
        end
      end
      for g = j, (partner or 0) - 1 do add(list, member(path, g), nil, got[g]) end
      if partner then
        diff.compare(list, member(path, e), expected[e], got[partner], is_partial)
        j = partner + 1
      else
        add(list, member(path, e), expected[e])
      end
    end
    for g = j, place[2] - 1 do add(list, member(path, g), nil, got[g]) end
    i, j = place[1] + 1, place[2] + 1
  end
end

local RED, GREEN, PLAIN = "\27[31m", "\27[32m", "\27[0m"

---The differences for people, one a line, in columns.
---@param list table[]
---@param is_coloured? boolean
---@return string
function diff.text(list, is_coloured)
  local paths, expected = 0, 0
  for _, one in ipairs(list) do
    paths = math.max(paths, #one.path)
    if one.expected and one.got then expected = math.max(expected, #one.expected) end
  end
  expected = math.min(expected, 40) -- a wide one stands on its own
  local red, green, plain = is_coloured and RED or "", is_coloured and GREEN or "", is_coloured and PLAIN or ""
  local rows = {}
  for n, one in ipairs(list) do
    local path = one.path .. ":" .. (" "):rep(paths - #one.path)
    if not one.got then
      rows[n] = ("%s missing %s%s%s"):format(path, green, one.expected, plain)
    elseif not one.expected then
      rows[n] = ("%s not expected %s%s%s"):format(path, red, one.got, plain)
    else
      rows[n] = ("%s expected %s%s%s,%s got %s%s%s"):format(path, green, one.expected, plain,
        (" "):rep(expected - #one.expected), red, one.got, plain)
    end
  end
  return table.concat(rows, "\n")
end

return diff
