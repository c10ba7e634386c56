-- schema_reader.lua: from what a rule says of its events (`event = { ... }`) to the fields that schema.lua checks, or to every mistake
-- in it. Nothing of the author's runs: tables are read without their metatables.
--
--   "string?"                                          a type, and ? when it may be missing
--   { "string", default = "EUR", enum = { "EUR" } }    a type and attributes
--   { fields = { city = "string" } }                   a map with fields of its own
--   { list = "number" }                                a list; what each element is, as of a field
local nearest = require "tidemill.nearest"
local schema = require "tidemill.schema"
local value = require "tidemill.value"
local pairs = require("tidemill.each").pairs

local reader = {}

local ATTRIBUTES = { "optional", "default", "enum", "renamed", "fields", "list" }
local IS_ATTRIBUTE = {}
for _, name in ipairs(ATTRIBUTES) do IS_ATTRIBUTE[name] = true end

local DEPTH = 64 -- of maps and lists in each other, and of a default
local ELEMENTS = 10000 -- of a default
local FIELDS = 10000 -- of a map: a function of Lua has room for so many

local TYPES = "string, number, integer, boolean, table or any, with ? when optional"
local TYPE_NAMES = { "string", "number", "integer", "boolean", "table", "any" }

---What the reader is told of, and where it stands: `shown` names the place for people ("event.items[].sku"), `path` and `file` for
---outline.lua; `file` nil: the rule's own.
---@class tidemill.schema_place
---@field shown string
---@field path (string|number)[]
---@field file any

local Reading = {}
Reading.__index = Reading

local function below(place, shown, ...)
  local path = {}
  for n, word in ipairs(place.path) do path[n] = word end
  for n = 1, select("#", ...) do path[#path + 1] = (select(n, ...)) end
  return { shown = shown, path = path, file = place.file }
end

-- At an attribute of the field at `place`.
local function at(place, attribute) return below(place, place.shown, attribute) end

function Reading:problem(place, format, ...)
  self.problems[#self.problems + 1] = { message = format:format(...), path = place.path, file = place.file }
end

-- A table that came from another file stands there.
function Reading:moved(place, t)
  local origin = self.origins[t]
  if not origin then return place end
  return { shown = place.shown, path = origin.path, file = origin.file }
end

-- The elements of a table that is nothing but a list; nil: it is none.
local function list_of(t)
  local count, list = 0, {}
  for k, v in pairs(t) do
    count = count + 1
    if type(k) ~= "number" then return nil end
    list[k] = v
  end
  return #list == count and list or nil
end

local function a(v) return v == nil and "nothing" or "a " .. type(v) end

-- ── attributes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

local function is_scalar(v)
  local kind = type(v)
  return kind == "string" or kind == "boolean" or (kind == "number" and v == v)
end

function Reading:enum(place, field, given)
  local values = type(given) == "table" and list_of(given)
  if not values or #values == 0 then
    return self:problem(at(place, "enum"), "`enum` of `%s` must be a list of values such as { \"EUR\", \"USD\" }", place.shown)
  end
  if field.fields or field.element or field.type == "table" then
    return self:problem(at(place, "enum"), "`enum` of `%s` goes with strings, numbers and booleans, not with maps and lists",
      place.shown)
  end
  local is_one = {}
  for _, v in ipairs(values) do
    if not is_scalar(v) then
      return self:problem(at(place, "enum"), "`enum` of `%s` may have strings, numbers and booleans, not %s", place.shown, a(v))
    end
    if not schema.TYPES[field.type].fits(v) then
      return self:problem(at(place, "enum"), "`enum` of `%s` has a value that its type does not allow: it is \"%s\", and this is %s",
        place.shown, field.type, schema.describe(v))
    end
    is_one[v] = true
  end
  field.enum = { values = values, is_one = is_one }
end

-- Why something cannot be an event's value; nil: it can. `left`: how many values it may still have.
local function why_no_data(v, depth, left)
  local kind = type(v)
  left.count = left.count - 1
  if left.count < 0 then return ("has more than %d values"):format(ELEMENTS) end
  if kind == "string" or kind == "boolean" or kind == "number" or value.is_int64(v) or value.is_null(v) then return nil end
  if kind ~= "table" then return ("is, or has in it, %s: it must be data"):format(a(v)) end
  if depth == 0 then return "is nested too deep, or within itself" end
  for k, one in pairs(v) do
    if not is_scalar(k) then return "has " .. a(k) .. " as a key" end
    local why = why_no_data(one, depth - 1, left)
    if why then return why end
  end
  return nil
end

function Reading:default(place, field, given)
  local why = why_no_data(given, DEPTH, { count = ELEMENTS })
  if why then return self:problem(at(place, "default"), "the default of `%s` %s", place.shown, why) end
  local alone = { name = "default", type = field.type, enum = field.enum, fields = field.fields, element = field.element }
  local event = { default = schema.copy(given) }
  local fault = schema.checker { alone }(event, false)
  if fault then
    return self:problem(at(place, "default"), "the default of `%s` does not fit: %s", place.shown,
      (fault:gsub("^field 'default", "field '" .. place.shown:match("[^.]*$"):gsub("%%", "%%%%"), 1)))
  end
  field.default = event.default -- its own maps have their defaults now, too
end

function Reading:renamed(place, field, given)
  if not field.name then
    return self:problem(at(place, "renamed"), "`%s` has no name that could be another one (`renamed`)", place.shown)
  end
  local names = type(given) == "string" and { given } or type(given) == "table" and list_of(given)
  local is_fine = names and #names > 0
  for _, name in ipairs(names or {}) do is_fine = is_fine and type(name) == "string" and name ~= "" end
  if not is_fine then
    return self:problem(at(place, "renamed"), "`renamed` of `%s` must be the older name of the field, or a list of such", place.shown)
  end
  field.renamed = names
end

-- ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

local function type_of(text)
  local kind, mark = text:match "^(%a+)(%??)$"
  if not schema.TYPES[kind] then return nil end
  return kind, mark == "?"
end

-- "; did you mean "string?"?", or "".
local function type_hint(given)
  local meant = type(given) == "string" and nearest.name((given:gsub("%?$", "")), TYPE_NAMES)
  return meant and ("; did you mean \"%s%s\"?"):format(meant, given:sub(-1) == "?" and "?" or "") or ""
end

function Reading:wrong_type(place, given)
  self:problem(place, "the type of `%s` must be %s; it is %s%s", place.shown, TYPES,
    type(given) == "string" and ("\"%s\""):format(given) or a(given), type_hint(given))
end

-- The map or list that a field is.
function Reading:parts(place, field, given, depth)
  if given.fields ~= nil and given.list ~= nil then
    return self:problem(at(place, "list"), "`%s` is a map (`fields`) or a list (`list`), not both", place.shown)
  end
  local word = given.fields ~= nil and "fields" or given.list ~= nil and "list"
  if not word then return end
  if given[1] ~= nil and field.type ~= "table" then
    return self:problem(place, "`%s` has `%s`, so its type is \"table\"; leave it out", place.shown, word)
  end
  field.type = "table"
  if word == "fields" then
    field.fields = self:fields(at(place, "fields"), given.fields, depth - 1)
  else
    field.element = self:field(below(place, place.shown .. "[]", "list"), nil, given.list, depth - 1)
  end
end

-- One that is given as a table.
function Reading:long_field(place, field, given, depth)
  local own = {}
  for k, v in pairs(given) do own[k] = v end
  local before = #self.problems
  for k in pairs(own) do
    if k ~= 1 and not IS_ATTRIBUTE[k] then
      local text = (type(k) == "string" or type(k) == "number") and tostring(k) or "(" .. a(k) .. ")"
      self:problem(at(place, text), "unknown attribute `%s` of `%s`%s", text, place.shown, nearest.hint(text, ATTRIBUTES))
    end
  end
  if own[1] ~= nil then
    local kind, is_optional = nil, nil
    if type(own[1]) == "string" then kind, is_optional = type_of(own[1]) end
    if not kind then return self:wrong_type(place, own[1]) end
    field.type, field.optional = kind, is_optional
  elseif own.enum == nil and own.fields == nil and own.list == nil and #self.problems == before then
    return self:problem(place, "`%s` says no type: give one, as in { \"string\", optional = true }, or `enum`, `fields` or `list`",
      place.shown)
  end
  if own.optional ~= nil then
    if type(own.optional) ~= "boolean" then
      self:problem(at(place, "optional"), "`optional` of `%s` must be true or false, it is %s", place.shown, a(own.optional))
    end
    field.optional = field.optional or own.optional
  end
  self:parts(place, field, own, depth)
  if #self.problems > before then return end
  if own.enum ~= nil then self:enum(place, field, own.enum) end
  if own.renamed ~= nil then self:renamed(place, field, own.renamed) end
  if own.default ~= nil and #self.problems == before then self:default(place, field, own.default) end
end

-- `name` nil: the element of a list.
function Reading:field(place, name, given, depth)
  local field = { name = name, type = "any", optional = false }
  if depth == 0 then
    self:problem(place, "`event` is nested deeper than %d levels, or within itself", DEPTH)
  elseif type(given) == "table" then
    self:long_field(place, field, given, depth)
  else
    local kind, is_optional = nil, nil
    if type(given) == "string" then kind, is_optional = type_of(given) end
    if not kind then
      self:wrong_type(place, given)
    else
      field.type, field.optional = kind, is_optional
    end
  end
  return field
end

-- An older name means one field, and no other.
function Reading:check_names(place, list)
  local owner = {}
  for _, field in ipairs(list) do owner[field.name] = field.name end
  for _, field in ipairs(list) do
    for _, name in ipairs(field.renamed or {}) do
      if owner[name] then
        local where = below(place, place.shown, field.name, "renamed")
        self:problem(where, "`%s.%s` cannot be renamed from `%s`: that is %s", place.shown, field.name, name,
          owner[name] == name and "a field of its own" or ("an older name of `%s`"):format(owner[name]))
      else
        owner[name] = field.name
      end
    end
  end
end

-- The fields of a map, in the order of their names. A table that stands in several places is read once.
function Reading:fields(place, given, depth)
  if type(given) ~= "table" then
    local what = place.shown == "event" and "`event`" or ("`fields` of `%s`"):format(place.shown)
    self:problem(place, "%s must be a table such as { user_id = \"string\" }", what)
    return {}
  end
  if self.read[given] then return self.read[given] end
  place = self:moved(place, given)
  if self.is_open[given] then
    self:problem(place, "`%s` is within itself", place.shown)
    return {}
  end
  self.is_open[given] = true
  local list = {}
  for name, definition in pairs(given) do
    if type(name) ~= "string" then
      self:problem(place, "`%s` must have field names as keys", place.shown)
    else
      list[#list + 1] = self:field(below(place, place.shown .. "." .. name, name), name, definition, depth)
    end
  end
  if #list > FIELDS then self:problem(place, "`%s` has more than %d fields", place.shown, FIELDS) end
  table.sort(list, function(one, other) return one.name < other.name end)
  self:check_names(place, list)
  self.read[given], self.is_open[given] = list, nil
  return list
end

---Reads a schema: its fields in the order of their names; or nil, and what is wrong with it.
---@param given any
---@param origins? table<table, { file: any, path: (string|number)[] }>  where tables come from that do not stand in the rule's file
---@return table[]|nil fields, { message: string, path: (string|number)[], file: any }[]|nil problems
function reader.parse(given, origins)
  local reading = setmetatable({ problems = {}, origins = origins or {}, read = {}, is_open = {} }, Reading)
  local fields = reading:fields({ shown = "event", path = { "event" } }, given, DEPTH)
  if #reading.problems > 0 then return nil, reading.problems end
  return fields
end

return reader
