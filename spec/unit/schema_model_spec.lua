-- The check of schemas against a model of it that shares nothing with it: it walks what the rule says, value by value. Random
-- schemas, and random events that fit them more or less.
local runtime = require "spec.support.runtime"
local reader = require "tidemill.schema_reader"
local schema = require "tidemill.schema"
local value = require "tidemill.value"

local array, null = value.array, value.null

-- ── the model ───────────────────────────────────────────────────────────────────────────────────────────────────────────

local function parts(definition)
  if type(definition) == "string" then definition = { definition } end
  local kind = definition[1]
  return {
    kind = kind and kind:gsub("%?$", ""), optional = definition.optional or (kind and kind:find "%?$" ~= nil) or false,
    default = definition.default, enum = definition.enum, fields = definition.fields, list = definition.list,
    renamed = type(definition.renamed) == "string" and { definition.renamed } or definition.renamed,
  }
end

local function is_kind(kind, v)
  if kind == "string" or kind == "boolean" then return type(v) == kind end
  if kind == "number" then return type(v) == "number" or value.is_int64(v) end
  if kind == "integer" then return (type(v) == "number" and v % 1 == 0 and v - v == 0) or value.is_int64(v) end
  if kind == "table" then return type(v) == "table" end
  return true
end

local function copied(v)
  if type(v) ~= "table" then return v end
  local copy = {}
  for k, one in pairs(v) do copy[k] = copied(one) end
  return getmetatable(v) == "array" and array(copy) or copy
end

local NUMBERS = { ["0"] = 0, ["-1.5"] = -1.5, ["12"] = 12, ["1"] = 1, ["-7"] = -7, ["1.5"] = 1.5, ["7"] = 7, ["0.5"] = 0.5 }
local BIG = { ["9007199254740993"] = true, ["-9007199254740993"] = true }

local function text_as(kind, text)
  if kind == "boolean" then
    if text == "true" or text == "1" then return true end
    if text == "false" or text == "0" then return false end
  elseif kind == "integer" and BIG[text] then
    return value.int64(text)
  elseif kind == "number" or kind == "integer" then
    local number = NUMBERS[text] or (BIG[text] and tonumber(text))
    if number and is_kind(kind, number) then return number end
  end
end

-- What plain text means for a field; nil: nothing that it takes.
local function meant(part, text)
  local kinds = { part.kind }
  if part.enum and (part.kind or "any") == "any" then
    kinds = {}
    for n, one in ipairs(part.enum) do kinds[n] = type(one) end
  end
  for _, kind in ipairs(kinds) do
    local v = text_as(kind, text)
    local is_in = not part.enum
    for _, one in ipairs(part.enum or {}) do is_in = is_in or one == v end
    if v ~= nil and is_in then return v end
  end
end

local judge_map

-- Returns the value that it becomes; or nil and the path of what does not fit.
local function judge(definition, v, path)
  local part = parts(definition)
  if v == nil and part.default ~= nil then v = copied(part.default) end
  if v == nil then
    if part.optional then return nil end
    return nil, path
  end
  if part.enum then
    local is_in = false
    for _, one in ipairs(part.enum) do is_in = is_in or one == v end
    if not is_in then return nil, path end
  elseif part.fields then
    if type(v) ~= "table" or getmetatable(v) == "array" then return nil, path end
    local bad = judge_map(part.fields, v, path .. ".")
    if bad then return nil, bad end
  elseif part.list then
    if type(v) ~= "table" or (getmetatable(v) ~= "array" and next(v) ~= nil) then return nil, path end
    for n = 1, #v do
      local is_none = value.is_null(v[n])
      local element = parts(part.list)
      local given = v[n]
      if is_none and (element.optional or element.default ~= nil) then given = nil end
      local one, bad = judge(part.list, given, ("%s[%d]"):format(path, n))
      if bad then return nil, bad end
      if one ~= nil then v[n] = one end
    end
  elseif not is_kind(part.kind, v) then
    return nil, path
  end
  return v
end

function judge_map(fields, t, path, texts)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local part = parts(fields[name])
    for _, old in ipairs(part.renamed or {}) do
      if t[name] == nil and t[old] ~= nil then t[name], t[old] = t[old], nil end
    end
    local v, bad = judge(fields[name], t[name], path .. name)
    if bad and texts and bad == path .. name and type(t[name]) == "string" then
      v = meant(part, t[name])
      bad = v == nil and bad or nil
    end
    if bad then return bad end
    if v ~= nil then t[name] = v end
  end
end

-- ── chance ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

local draw

local function pick(list) return list[draw(#list)] end
local function maybe(percent) return draw(100) <= percent end

local GOOD = {
  string = { "a", "b", "12", "" }, number = { 0, -1.5, 12, value.int64 "9007199254740993" },
  integer = { 1, -7, value.int64 "-9007199254740993" },
  boolean = { true, false }, any = { 1, "a", true },
}
local ENUMS = { string = { "a", "b", "1" }, number = { 1, 1.5, 12 }, integer = { 1, 12 }, boolean = { true }, any = { "a", 1, true, 12 } }
local KINDS = { "string", "number", "integer", "boolean", "any", "table" }
local NAMES = { "a", "b", "c", "d" }

local random_fields, random_value

local function random_definition(depth)
  local choice = draw(10)
  if depth > 0 and choice <= 2 then return { fields = random_fields(depth - 1), optional = maybe(30) } end
  if depth > 0 and choice <= 4 then return { list = random_definition(depth - 1), optional = maybe(30) } end
  local kind = pick(KINDS)
  if choice <= 6 then return kind .. (maybe(40) and "?" or "") end
  local definition = { kind, optional = maybe(30) }
  if kind ~= "table" and maybe(50) then
    definition.enum = ENUMS[kind]
    if kind == "any" and maybe(50) then definition[1] = nil end
  end
  if kind ~= "table" and maybe(40) then definition.default = pick(definition.enum or GOOD[kind]) end
  if kind == "table" and maybe(40) then definition.default = { array { 1, { x = "y" } } } end
  return definition
end

function random_fields(depth)
  local fields = {}
  for _, name in ipairs(NAMES) do
    if maybe(60) then
      local definition = random_definition(depth)
      if maybe(30) then
        if type(definition) == "string" then definition = { definition } end
        definition.renamed = maybe(50) and "old_" .. name or { "older_" .. name, "old_" .. name }
      end
      fields[name] = definition
    end
  end
  return fields
end

local JUNK = { "1.5", "true", "x", 7, 0.5, true, null, array { 1, null }, { x = 1 }, {}, 0 / 0 }

local function random_map(fields, wrong)
  local t = {}
  for name, definition in pairs(fields) do
    local renamed = type(definition) == "table" and definition.renamed
    local to = name
    if renamed and maybe(50) then to = type(renamed) == "string" and renamed or pick(renamed) end
    if not maybe(wrong) then t[to] = random_value(definition, wrong) end
    if renamed and maybe(10) then t["old_" .. name] = "both" end
  end
  if maybe(20) then t.unknown = pick(JUNK) end
  return t
end

-- One that fits, but for `wrong` percent.
function random_value(definition, wrong)
  if maybe(wrong) then return copied(pick(JUNK)) end
  local part = parts(definition)
  if part.fields then return random_map(part.fields, wrong) end
  if part.list then
    local list = {}
    for n = 1, draw(4) - 1 do
      list[n] = random_value(part.list, wrong)
      if list[n] == nil or maybe(wrong) then list[n] = null end
    end
    return array(list)
  end
  if part.enum then return pick(part.enum) end
  if part.kind == "table" then return { 1 } end
  return pick(GOOD[part.kind])
end

-- Both may hold not-a-number, which is not equal to itself.
local function shown(v)
  if type(v) ~= "table" then return type(v) == "string" and ("%q"):format(v) or tostring(v) end
  local list = {}
  for k, one in pairs(v) do list[#list + 1] = tostring(k) .. "=" .. shown(one) end
  table.sort(list)
  return tostring(getmetatable(v)) .. "{" .. table.concat(list, ",") .. "}"
end

describe("the check of a schema", function()
  for _, texts in ipairs { false, true } do
    it("says what a model of it says, " .. (texts and "of plain fields" or "of decoded values"), function()
      local seed = runtime.seed()
      draw = runtime.generator(seed)
      local fits, misfits = 0, 0
      for round = 1, 400 do
        local fields = random_fields(texts and 0 or 3)
        local definition = assert(reader.parse(fields))
        local checker = schema.checker(definition)
        for _ = 1, 25 do
          local event = random_map(fields, pick { 0, 5, 30 })
          if texts then
            for name, v in pairs(event) do event[name] = type(v) ~= "table" and tostring(v) or "t" end
          end
          local own = copied(event)
          local context = ("seed %d, round %d: %s in %s"):format(seed, round, shown(event), shown(fields))
          local bad = judge_map(fields, own, "", texts)
          local fault = checker(event, texts)
          if bad then
            misfits = misfits + 1
            assert.equal(("field '%s' "):format(bad), (fault or "none"):match "^field '[^']*' " or fault or "none", context)
          else
            fits = fits + 1
            assert.is_nil(fault, context)
            assert.equal(shown(own), shown(event), context)
          end
        end
      end
      assert.is_true(fits > 1000 and misfits > 1000, ("%d fit, %d do not"):format(fits, misfits))
    end)
  end
end)
