-- schema.lua: the check of an event's fields (`event = { user_id = "string", total = "number?" }`), as generated code.
local nearest = require "tidemill.nearest"
local value = require "tidemill.value"
local pairs = require("tidemill.each").pairs

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

local TYPE_NAMES = { "string", "number", "integer", "boolean", "table", "any" }

local function type_hint(text)
  local meant = type(text) == "string" and nearest.name((text:gsub("%?$", "")), TYPE_NAMES)
  return meant and meant ~= text and ("; did you mean \"%s%s\"?"):format(meant, text:sub(-1) == "?" and "?" or "") or ""
end

---Reads a schema. Returns a list of fields in the order of their names, or nil and what is wrong, with the field's name.
---@return { name: string, type: string, optional: boolean }[]|nil fields, string|nil reason, string|nil field
function schema.parse(definition)
  if type(definition) ~= "table" then return nil, "`event` must be a table such as { user_id = \"string\" }" end
  local fields = {}
  for name, text in pairs(definition) do
    if type(name) ~= "string" then return nil, "`event` must have field names as keys" end
    local kind, optional
    if type(text) == "string" then kind, optional = text:match "^(%a+)(%??)$" end
    if not schema.TYPES[kind] then
      return nil, ("the type of `event.%s` must be string, number, integer, boolean, table or any, with ? when "
        .. "optional; it is %s%s"):format(name, type(text) == "string" and ("\"" .. text .. "\"") or "a " .. type(text),
        type_hint(text)), name
    end
    fields[#fields + 1] = { name = name, type = kind, optional = optional == "?" }
  end
  table.sort(fields, function(a, b) return a.name < b.name end)
  return fields
end

local function describe(v)
  if v == nil then return "missing" end
  local kind = value.is_int64(v) and "integer" or value.is_null(v) and "null" or type(v)
  if kind == "string" then return ("a string (%s)"):format(#v > 40 and ("%q..."):format(v:sub(1, 40)) or ("%q"):format(v)) end
  if kind == "number" then return ("a number (%s)"):format(tostring(v)) end
  return (kind == "integer" and "an " or "a ") .. kind
end

local TEST = {
  string = 'type(v) == "string"',
  number = '(type(v) == "number" or fits_number(v))',
  integer = '(type(v) == "number" and v == floor(v) and v > -huge and v < huge or fits_integer(v))',
  boolean = 'type(v) == "boolean"',
  table = 'type(v) == "table"',
}

---The check itself. `texts`: the entry came as plain fields, so numbers, integers and booleans may be text (they are replaced).
---@return fun(event: table, texts: boolean): string|nil fault
function schema.checker(fields)
  local lines = { "local type, floor, huge, fits_number, fits_integer, fault = ...", "return function(event, texts)", "local v" }
  for i, field in ipairs(fields) do
    lines[#lines + 1] = ("v = event[%q]"):format(field.name)
    if field.type == "any" then
      if not field.optional then lines[#lines + 1] = ("if v == nil then return fault(event, %d, texts) end"):format(i) end
    else
      lines[#lines + 1] = ("if not (%s%s) then"):format(field.optional and "v == nil or " or "", TEST[field.type])
      lines[#lines + 1] = ("local why = fault(event, %d, texts) if why then return why end end"):format(i)
    end
  end
  lines[#lines + 1] = "return nil end"
  local function fault(event, number, texts)
    local field = fields[number]
    local v = event[field.name]
    local from_text = schema.TYPES[field.type].from_text
    if texts and from_text and type(v) == "string" then
      local meant = from_text(v)
      if meant ~= nil then
        event[field.name] = meant
        return nil
      end
    end
    return ("field '%s' must be %s%s, it is %s"):format(
      field.name, field.type == "any" and "" or field.type == "integer" and "an " or "a ",
      field.type == "any" and "there" or field.type, describe(v))
  end
  return assert(loadstring(table.concat(lines, "\n"), "=schema"))(
    type, math.floor, math.huge, schema.TYPES.number.fits, schema.TYPES.integer.fits, fault)
end

return schema
