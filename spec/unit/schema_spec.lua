require "spec.support.runtime"
local schema = require "tidemill.schema"
local reader = require "tidemill.schema_reader"
local value = require "tidemill.value"

local int64, null, array = value.int64, value.null, value.array

local function check(definition, event, texts)
  return schema.checker(assert(reader.parse(definition)))(event, texts or false)
end

describe("schemas", function()
  it("are read in the order of their names", function()
    assert.same({ { name = "a", type = "number", optional = true }, { name = "b", type = "string", optional = false } },
      reader.parse { b = "string", a = "number?" })
  end)

  -- The only problem of a definition: its message and the path that it is at.
  local function problem(definition)
    local fields, problems = reader.parse(definition)
    assert.is_nil(fields)
    assert.equal(1, #problems, problems[2] and problems[2].message)
    return problems[1].message, table.concat(problems[1].path, ".")
  end

  it("say which type is wrong", function()
    for given, shown in pairs { strin = '"strin"', ["string ?"] = '"string ?"', ["?"] = '"?"', [""] = '""', ["string??"] = '"string??"',
      [1] = "a number", [true] = "a boolean" } do
      assert.same({ "the type of `event.total` must be string, number, integer, boolean, table or any, with ? when optional; it is "
        .. shown, "event.total" }, { problem { total = given } })
    end
    assert.same({ "`event` must have field names as keys", "event" }, { problem { "string" } })
    assert.matches("^`event` must be a table", (problem "string"))
    local hostile = setmetatable({}, { __tostring = function() error "reached" end, __index = function() error "reached" end })
    assert.matches("^`event.x` says no type", (problem { x = hostile }))
  end)

  local fits = {
    string = { "x", "", "12" }, number = { 1, 1.5, -0.0, math.huge, int64 "9007199254740993" }, integer = { 1, -5, 2 ^ 53, int64 "1" },
    boolean = { true, false }, table = { {}, array {}, { a = 1 }, value.ext(1, "x") }, any = { 1, "x", false, {}, null, int64 "1" },
  }
  local misfits = {
    string = { 1, true, {}, null, int64 "1" }, number = { "1", true, {}, null },
      integer = { 1.5, math.huge, -math.huge, 0 / 0, "1", {}, null },
    boolean = { 1, "true", 0, null }, table = { "x", 1, null, int64 "1" }, any = {},
  }

  for kind in pairs(fits) do
    it("of " .. kind .. " fit what they should, required and optional", function()
      for _, v in ipairs(fits[kind]) do
        assert.is_nil(check({ f = kind }, { f = v }))
        assert.is_nil(check({ f = kind .. "?" }, { f = v }))
      end
      for _, v in ipairs(misfits[kind]) do
        assert.is_string(check({ f = kind }, { f = v }))
        assert.is_string(check({ f = kind .. "?" }, { f = v }))
      end
      assert.is_string(check({ f = kind }, {}))
      assert.is_nil(check({ f = kind .. "?" }, {}))
    end)
  end

  it("describe what they found", function()
    for _, case in ipairs {
      { { f = "string" }, {}, "field 'f' must be a string, it is missing" },
      { { f = "integer" }, { f = 1.5 }, "field 'f' must be an integer, it is a number (1.5)" },
      { { f = "number" }, { f = "abc" }, [[field 'f' must be a number, it is a string ("abc")]] },
      { { f = "number" }, { f = ("x"):rep(100) }, "field 'f' must be a number, it is a string (\"" .. ("x"):rep(40) .. "\"...)" },
      { { f = "boolean" }, { f = {} }, "field 'f' must be a boolean, it is a table" },
      { { f = "table" }, { f = null }, "field 'f' must be a table, it is a null" },
      { { f = "string" }, { f = int64 "9007199254740993" }, "field 'f' must be a string, it is an integer" },
      { { f = "any" }, {}, "field 'f' must be there, it is missing" },
      { { f = "integer", e = "string" }, { f = "no", e = 1 }, "field 'e' must be a string, it is a number (1)" },
      { { ["odd \"name\"\n"] = "string" }, {}, "field 'odd \"name\"\n' must be a string, it is missing" },
    } do
      assert.equal(case[3], check(case[1], case[2]))
    end
  end)

  it("take the text of plain fields for what it means", function()
    local definition = { n = "number?", i = "integer?", b = "boolean?", s = "string?", t = "table?", a = "any?" }
    local event = { n = "1.5e3", i = "-12", b = "true", s = "7", a = "9" }
    assert.is_nil(check(definition, event, true))
    assert.same({ n = 1500, i = -12, b = true, s = "7", a = "9" }, event)
    event = { i = "9007199254740993", n = "0012", b = "0" }
    assert.is_nil(check(definition, event, true))
    assert.equal("9007199254740993", tostring(event.i))
    assert.same({ 12, false }, { event.n, event.b })
    event = { i = "-9007199254740993", n = "1", b = "1" }
    assert.is_nil(check(definition, event, true))
    assert.equal("-9007199254740993", tostring(event.i))
    event = { i = "+9007199254740992" }
    assert.is_nil(check(definition, event, true))
    assert.equal(2 ^ 53, event.i)
    for field, bad in pairs { n = { "", "abc", "0x10", "1 ", " 1", "nan", "inf", "1e", "1LL", "1i", "--1", "1.2.3", "0b1", "+" },
      i = { "", "1.0", "1e3", "x", "18446744073709551616", "+-1" }, b = { "yes", "TRUE", "", "2" }, t = { "{}" } } do
      for _, text in ipairs(bad) do
        local broken = { [field] = text }
        assert.is_string(check(definition, broken, true), field .. " " .. text)
        assert.equal(text, broken[field])
      end
    end
    for text, number in pairs { ["1"] = 1, ["-1.25"] = -1.25, ["+5"] = 5, [".5"] = 0.5, ["5."] = 5, ["1E2"] = 100, ["1e-2"] = 0.01 } do
      local good = { n = text }
      assert.is_nil(check(definition, good, true))
      assert.equal(number, good.n)
    end
    assert.is_string(check({ n = "number" }, { n = "12" }, false)) -- only of plain fields
  end)

  it("check many fields", function()
    local definition, event = {}, {}
    for i = 1, 250 do definition["f" .. i], event["f" .. i] = "integer", i end
    assert.is_nil(check(definition, event))
    event.f250 = nil
    assert.equal("field 'f250' must be an integer, it is missing", check(definition, event))
  end)
end)
