-- shape.lua: from the tokens of an event to a Lua table, by a function that is generated once for each shape of event.
--
-- Events of one kind have the same fields of the same types. Such a shape has one number (bridge.c finds it, and compares
-- every name and type, so two shapes are never mixed up), and here one generated function that is a table constructor:
-- a single allocation with all its keys in place, which the JIT compiles together with the rule. Arrays, whose length
-- varies, and documents that are too large for a shape are built token by token.
local ffi = require "tidemill.cdef"
local value = require "tidemill.value"

local shape = {}

local str = ffi.string
local NIL, TRUE, FALSE, NUMBER = ("z"):byte(), ("t"):byte(), ("f"):byte(), ("n"):byte()
local INT64, UINT64, STRING, EXT = ("i"):byte(), ("u"):byte(), ("s"):byte(), ("x"):byte()
local ARRAY, MAP = ("a"):byte(), ("m"):byte()

shape.TYPES = { NIL = NIL, NUMBER = NUMBER, STRING = STRING, ARRAY = ARRAY, MAP = MAP }

---Builds the value whose tokens begin at `at`. Nesting is bounded by the decoder's limit.
---@return any value, number next_token
function shape.build(tokens, at)
  local build = shape.build
  local t = tokens[at]
  local kind = t.type
  if kind == STRING then return str(t.bytes, t.len), at + 1 end
  if kind == NUMBER then return t.number, at + 1 end
  if kind == TRUE then return true, at + 1 end
  if kind == FALSE then return false, at + 1 end
  if kind == NIL then return nil, at + 1 end
  if kind == INT64 then return value.from_i64(t.i64), at + 1 end
  if kind == UINT64 then return value.from_u64(t.u64), at + 1 end
  if kind == EXT then return value.ext(t.ext_type, str(t.bytes, t.len)), at + 1 end
  local count = t.len
  at = at + 1
  local result = {}
  if kind == ARRAY then
    for i = 1, count do
      local v
      v, at = build(tokens, at)
      if v == nil then v = value.null end
      result[i] = v
    end
    return value.array(result), at
  end
  for _ = 1, count do
    local k, v
    k, at = build(tokens, at)
    v, at = build(tokens, at)
    -- A key that Lua cannot have (nil, NaN) or that no rule could find again (an array) is left out.
    if type(k) == "cdata" and value.is_int64(k) then k = tostring(k) end
    if type(k) == "string" or (type(k) == "number" and k == k) or type(k) == "boolean" then result[k] = v end
  end
  return result, at
end

local function quoted(text)
  return '"' .. text:gsub("[^%w_%-%. ]", function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
end

-- The text of an expression for each token. Positions are constants until an array, whose length varies, has passed.
local Writer = {}
Writer.__index = Writer

function Writer:position()
  return self.base and ("t[%s + %d]"):format(self.base, self.at) or ("t[%d]"):format(self.at)
end

function Writer:after_array()
  local name = "o" .. self.arrays
  self.before[#self.before + 1] = ("local %s = %s%d + %s.size"):format(
    name, self.base and self.base .. " + " or "", self.at, self:position())
  self.base, self.at, self.arrays = name, 0, self.arrays + 1
end

function Writer:value()
  local here, token = self:position(), self.tokens[self.index]
  local kind = token.type
  self.index = self.index + (kind == ARRAY and token.size or 1)
  if kind == ARRAY then
    local name = "a" .. self.arrays
    self.before[#self.before + 1] = ("local %s = build(t, %s%d)"):format(name, self.base and self.base .. " + " or "", self.at)
    self:after_array()
    return name
  end
  self.at = self.at + 1
  if kind == STRING then return ("str(%s.bytes, %s.len)"):format(here, here) end
  if kind == NUMBER then return here .. ".number" end
  if kind == TRUE or kind == FALSE then return ("(%s.type == %d)"):format(here, TRUE) end -- both are one shape
  if kind == NIL then return "nil" end
  if kind == INT64 then return ("from_i64(%s.i64)"):format(here) end
  if kind == UINT64 then return ("from_u64(%s.u64)"):format(here) end
  if kind == EXT then return ("ext(%s.ext_type, str(%s.bytes, %s.len))"):format(here, here, here) end
  assert(kind == MAP)
  return self:map(token.len)
end

function Writer:map(pairs_count)
  local fields, place_of = {}, {}
  for _ = 1, pairs_count do
    local key = self.tokens[self.index]
    local name = str(key.bytes, key.len)
    self.index, self.at = self.index + 1, self.at + 1
    -- Of a name that stands there twice the last one counts, also when it is nil. (A constructor that names a field twice
    -- would let a constant lose to what is computed.)
    local place = place_of[name] or #fields + 1
    place_of[name] = place
    fields[place] = ("[%s] = %s"):format(quoted(name), self:value())
  end
  return "{ " .. table.concat(fields, ", ") .. " }"
end

---The constructor for the shape of the map whose tokens begin at `start`: called with the tokens, returns the table.
---
---`filter` (optional) is `{ { field, { text = true, ... } }, ... }`: fields of which each must equal one of some values. The
---generated function looks at them first and returns nil when one does not fit, before anything else is built.
---@return fun(tokens: ffi.cdata*): table|nil
function shape.constructor(tokens, start, filter)
  local writer = setmetatable({ tokens = tokens, index = start + 1, at = start + 1, arrays = 0, before = {} }, Writer)
  local body = writer:map(tokens[start].len)
  local tests = {}
  local wanted = {}
  for i, condition in ipairs(filter or {}) do
    local test = shape.filter_test(tokens, start, condition, i)
    if test == false then return function() return nil end end
    tests[i] = test or nil
    wanted[i] = condition[2]
  end
  local source = ("local str, build, from_i64, from_u64, ext, wanted = ...\nreturn function(t)\n%s\n%s\nreturn %s\nend"):format(
    table.concat(tests, "\n"), table.concat(writer.before, "\n"), body)
  return assert(loadstring(source, "=shape"))(str, shape.build, value.from_i64, value.from_u64, value.ext, wanted)
end

-- The test of one condition for this shape, as text; false when no event of this shape can meet it.
function shape.filter_test(tokens, start, condition, number)
  local name, allowed = condition[1], condition[2]
  local at, found, moved = start + 1, nil, false
  for _ = 1, tokens[start].len do
    local key, v = tokens[at], tokens[at + 1]
    if str(key.bytes, key.len) == name then found = { at = at + 1, type = v.type, moved = moved } end
    moved = moved or v.size > 1
    at = at + 1 + v.size
  end
  if not found then return false end
  local is_boolean = found.type == TRUE or found.type == FALSE
  if found.type ~= STRING and found.type ~= NUMBER and not is_boolean then return false end
  -- Behind an array the position is not a constant: find it by walking over the values.
  local position = ("t[%d]"):format(found.at)
  local walk = ""
  if found.moved then
    walk = ("local p%d = %d\nfor _ = 1, %d do p%d = p%d + 1 + t[p%d + 1].size end\np%d = p%d + 1\n"):format(
      number, start + 1, shape.pairs_before(tokens, start, found.at), number, number, number, number, number)
    position = ("t[p%d]"):format(number)
  end
  local read = found.type == STRING and ("str(%s.bytes, %s.len)"):format(position, position)
    or is_boolean and ("(%s.type == %d)"):format(position, TRUE) or position .. ".number"
  -- One allowed value is compared; several are looked up.
  local only = next(allowed)
  if next(allowed, only) == nil and type(only) == "string" then
    if found.type ~= STRING then return false end
    return ("%sif %s ~= %s then return nil end"):format(walk, read, quoted(only))
  end
  return ("%sif not wanted[%d][%s] then return nil end"):format(walk, number, read)
end

function shape.pairs_before(tokens, start, value_at)
  local at, count = start + 1, 0
  while at + 1 < value_at do
    at = at + 1 + tokens[at + 1].size
    count = count + 1
  end
  return count
end

return shape
