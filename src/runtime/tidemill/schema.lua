-- schema.lua: the check of an event's fields (`event = { user_id = "string", total = "number?" }`), as generated code. What a field
-- does not have (a default, an older name, values, fields of its own) is not in the code.
--
-- A field is what schema_reader.lua made of its definition:
--
--   name       of the field; nil: of a list's elements
--   type       a name of TYPES; of a map and of a list "table"
--   optional   may be missing
--   default    what a missing one becomes: a copy of it
--   renamed    its older names, a list
--   enum       the values that it may have: { values = list, is_one = { [value] = true } }
--   fields     of a map: the list of its fields
--   element    of a list: the field that each element is. There, tidemill.null is what is missing
local value = require "tidemill.value"
local next, pairs = require("tidemill.each").next, require("tidemill.each").pairs

local schema = {}

local function is_whole(v) return v == math.floor(v) and v > -math.huge and v < math.huge end

-- For each type: does a value fit; and, for entries that arrived as plain fields, what its text means (nil: nothing).
schema.TYPES = {
  string = { fits = function(v) return type(v) == "string" end },
  number = {
    fits = function(v) return type(v) == "number" or value.is_int64(v) end,
    from_text = function(text)
      return text:find "^[-+]?[%d.]+[eE]?[-+]?%d*$" and tonumber(text) or nil
    end,
  },
  integer = {
    fits = function(v) return type(v) == "number" and is_whole(v) or value.is_int64(v) end,
    from_text = function(text)
      if not text:find "^[-+]?%d+$" then return nil end
      local number = tonumber(text)
      if number > -2 ^ 53 and number < 2 ^ 53 then return number end
      local ok, exact = pcall(value.int64, (text:gsub("^%+", "")))
      if not ok then return nil end
      return (exact == 2 ^ 53 or exact == -2 ^ 53) and number or exact -- as the codecs: exact in a double, so it is one
    end,
  },
  boolean = {
    fits = function(v) return type(v) == "boolean" end,
    from_text = function(text)
      if text == "true" or text == "1" then return true end
      if text == "false" or text == "0" then return false end
      return nil
    end,
  },
  table = { fits = function(v) return type(v) == "table" end },
  any = { fits = function() return true end },
}

-- ── saying what is wrong ────────────────────────────────────────────────────────────────────────────────────────────────────

local function describe(v)
  if v == nil then return "missing" end
  local kind = value.is_int64(v) and "integer" or value.is_null(v) and "null" or type(v)
  if kind == "string" then return ("a string (%s)"):format(#v > 40 and ("%q..."):format(v:sub(1, 40)) or ("%q"):format(v)) end
  if kind == "number" then return ("a number (%s)"):format(tostring(v)) end
  return (kind == "integer" and "an " or "a ") .. kind
end
schema.describe = describe

-- Where a map or a list is wanted, a table is one of these.
local function describe_table(v)
  if type(v) ~= "table" then return describe(v) end
  local kind = getmetatable(v)
  return kind == "array" and "a list" or kind == "ext" and "an ext value" or "a map"
end

local VALUES_SHOWN = 10

local function expected(field)
  if field.fields then return "a map" end
  if field.element then return "a list" end
  if not field.enum then
    return field.type == "any" and "there" or (field.type == "integer" and "an " or "a ") .. field.type
  end
  local texts, values = {}, field.enum.values
  for n = 1, math.min(#values, VALUES_SHOWN) do
    texts[n] = type(values[n]) == "string" and ("%q"):format(values[n]) or tostring(values[n])
  end
  if #values > VALUES_SHOWN then texts[#texts + 1] = ("%d more"):format(#values - VALUES_SHOWN) end
  return (#values > 1 and "one of " or "") .. table.concat(texts, ", ")
end

local function sentence(field, v)
  local found = (field.fields or field.element) and describe_table(v) or describe(v)
  return ("must be %s, it is %s"):format(expected(field), found)
end

-- ── what generated code calls ───────────────────────────────────────────────────────────────────────────────────────────────

-- Of an entry of plain fields: what a field's text means; nil: nothing that it may be.
local function meaning(field, text)
  local enum = field.enum
  if enum and field.type == "any" then
    for _, one in ipairs(enum.values) do
      local from_text = schema.TYPES[type(one)].from_text
      if from_text and from_text(text) == one then return one end
    end
    return nil
  end
  local from_text = schema.TYPES[field.type].from_text
  local meant = from_text and from_text(text)
  if meant == nil or (enum and not enum.is_one[meant]) then return nil end
  return meant
end

---A copy of plain data, such as a default: arrays stay arrays.
function schema.copy(v)
  if type(v) ~= "table" then return v end
  local copy = {}
  for k, one in pairs(v) do copy[k] = schema.copy(one) end
  local kind = getmetatable(v)
  if kind == "array" then return value.array(copy) end
  if kind == "ext" then return value.ext(copy.type, copy.bytes) end
  return copy
end

local function is_map(v)
  local kind = getmetatable(v)
  return kind ~= "array" and kind ~= "ext"
end

-- An array that came with the event, or a table of a rule's own (from `upgrade`) that looks like one.
local function is_list(v)
  local kind = getmetatable(v)
  return kind == "array" or (kind ~= "ext" and (v[1] ~= nil or next(v) == nil))
end

-- What generated code calls for fields by their numbers.
local function helpers_of(fields)
  local helpers = { is_map = is_map, is_list = is_list, is_null = value.is_null }
  function helpers.fault(event, number, texts) -- of the event's own fields
    local field = fields[number]
    local v = event[field.name]
    if texts and type(v) == "string" then
      local meant = meaning(field, v)
      if meant ~= nil then
        event[field.name] = meant
        return nil
      end
    end
    return ("field '%s' %s"):format(field.name, sentence(field, v))
  end
  function helpers.within(number, path, text) return ("field '%s%s' %s"):format(fields[number].name, path, text) end
  function helpers.told(number, v) return sentence(fields[number], v) end
  function helpers.default(number) return schema.copy(fields[number].default) end
  function helpers.renamed(event, number)
    local field = fields[number]
    for _, name in ipairs(field.renamed) do
      local v = event[name]
      if v ~= nil then
        event[name], event[field.name] = nil, v
        return v
      end
    end
    return nil
  end
  return helpers
end

-- ── generating ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

local TEST = {
  string = 'type(v) == "string"',
  number = '(type(v) == "number" or fits_number(v))',
  integer = '(type(v) == "number" and v == floor(v) and v > -huge and v < huge or fits_integer(v))',
  boolean = 'type(v) == "boolean"',
  table = 'type(v) == "table"',
}

-- The test of the value `v`, as an expression; nil: any value will do.
local function test_of(field, i)
  if field.enum then return ("is_one[%d][v]"):format(i) end
  if field.fields then return '(type(v) == "table" and is_map(v))' end
  if field.element then return '(type(v) == "table" and is_list(v))' end
  return TEST[field.type]
end

-- The lines for one field, whose value is to be had and kept at `at`. `fail`: what to do when it does not fit; `fail_below`:
-- when something in it does not (`path` and `text` say what).
local function add_field(lines, field, i, at, fail, fail_below)
  local function add(text, ...) lines[#lines + 1] = text:format(...) end
  add("v = %s", at)
  if not field.name and (field.optional or field.default ~= nil) then add("if is_null(v) then v = nil end") end
  if field.renamed then add("if v == nil then v = renamed(event, %d) end", i) end
  if field.default ~= nil then add("if v == nil then v = default(%d) %s = v end", i, at) end
  local test = test_of(field, i)
  if test then
    add("if not (%s%s) then", field.optional and "v == nil or " or "", test)
    add("%s end", fail)
  elseif not field.optional then
    add("if v == nil then %s end", fail)
  end
  if field.fields or field.element then
    add("if v ~= nil then local path, text = below[%d](v) if path then %s end end", i, fail_below)
  end
end

local CHUNK = [[
local type, floor, huge, fits_number, fits_integer, fault, within, told, default, renamed, is_map, is_list, is_null, is_one, below = ...
return function(event, texts)
local v
%s
return nil end]]

local function compile(lines, helpers, is_one, below)
  local h = helpers
  return assert(loadstring(CHUNK:format(table.concat(lines, "\n")), "=schema"))(
    type, math.floor, math.huge, schema.TYPES.number.fits, schema.TYPES.integer.fits, h.fault, h.within, h.told, h.default,
    h.renamed, h.is_map, h.is_list, h.is_null, is_one, below)
end

-- Of a field that is a map or a list: a function of its value, which returns where in it something does not fit, as the end of a
-- path, and the end of the sentence. `made`: those that there are already, by their fields.
local function check_below(field, made)
  local known = field.fields or field.element
  if made[known] then return made[known] end
  local fields = field.fields or { field.element }
  local is_one, below, lines = {}, {}, {}
  if field.element then lines[1] = "for n = 1, #event do" end
  for i, one in ipairs(fields) do
    is_one[i] = one.enum and one.enum.is_one
    below[i] = (one.fields or one.element) and check_below(one, made)
    local at = one.name and ("event[%q]"):format(one.name) or "event[n]"
    local path = one.name and ("%q"):format("." .. one.name) or '("[" .. n .. "]")'
    add_field(lines, one, i, at, ("do return %s, told(%d, v) end"):format(path, i), ("return %s .. path, text"):format(path))
  end
  if field.element then lines[#lines + 1] = "end" end
  made[known] = compile(lines, helpers_of(fields), is_one, below)
  return made[known]
end

---The check itself: gives missing fields their defaults, moves those that have another name now, and says what does not fit.
---`texts`: the entry came as plain fields, so numbers, integers and booleans may be text (they are replaced).
---@return fun(event: table, texts: boolean): string|nil fault
function schema.checker(fields)
  local is_one, below, lines, made = {}, {}, {}, {}
  for i, field in ipairs(fields) do
    is_one[i] = field.enum and field.enum.is_one
    below[i] = (field.fields or field.element) and check_below(field, made)
    add_field(lines, field, i, ("event[%q]"):format(field.name),
      ("local why = fault(event, %d, texts) if why then return why end"):format(i), ("return within(%d, path, text)"):format(i))
  end
  return compile(lines, helpers_of(fields), is_one, below)
end

return schema
