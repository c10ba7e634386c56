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
    for given, shown in pairs { strin = '"strin"; did you mean "string"?', ["string ?"] = '"string ?"; did you mean "string?"?',
      ["nmber?"] = '"nmber?"; did you mean "number?"?', ["?"] = '"?"', [""] = '""', ["string??"] = '"string??"; did you mean "string?"?',
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

  it("give a missing field its default, a copy of its own each time", function()
    local shared = { "a", { n = 1 } }
    local definition = { currency = { "string", default = "EUR" }, tags = { "table", default = shared }, n = { "number", default = 0 },
      is_new = { "boolean", default = false }, list = { list = "string", default = array {} }, at = { "any", default = value.ext(1, "x") } }
    local checker = schema.checker(assert(reader.parse(definition)))
    local one, two = {}, { currency = "USD", n = 5, is_new = true }
    assert.is_nil(checker(one, false))
    assert.is_nil(checker(two, false))
    assert.same({ currency = "EUR", tags = { "a", { n = 1 } }, n = 0, is_new = false, list = {}, at = one.at }, one)
    assert.same({ "USD", 5, true }, { two.currency, two.n, two.is_new })
    assert.same({ "array", "ext", "x" }, { getmetatable(one.list), getmetatable(one.at), one.at.bytes })
    one.tags[2].n, one.tags[3], shared[1] = 7, "b", "changed"
    assert.same({ "a", { n = 1 } }, two.tags)
    local three = {}
    checker(three, false)
    assert.same({ "a", { n = 1 } }, three.tags)
    assert.equal("field 'currency' must be a string, it is a number (5)", checker({ currency = 5 }, false))
  end)

  it("fill the maps of a default, too", function()
    local event = {}
    assert.is_nil(check({ a = { fields = { city = { "string", default = "Graz" }, zip = "string?" }, default = {} } }, event))
    assert.same({ a = { city = "Graz" } }, event)
  end)

  it("take only some values", function()
    for _, case in ipairs {
      { { "string", enum = { "EUR", "USD" } }, { "EUR", "USD" }, { "eur", "", 5, true, {}, null } },
      { { enum = { "add", 2, true } }, { "add", 2, true }, { "2", false, 2.5, 0 / 0, "true" } },
      { { "integer", enum = { 1, 2 } }, { 1, 2 }, { 3, 1.5, "1", int64 "9007199254740993" } },
    } do
      for _, v in ipairs(case[2]) do assert.is_nil(check({ f = case[1] }, { f = v })) end
      for _, v in ipairs(case[3]) do assert.is_string(check({ f = case[1] }, { f = v })) end
      assert.is_string(check({ f = case[1] }, {}))
      case[1].optional = true
      assert.is_nil(check({ f = case[1] }, {}))
      assert.is_string(check({ f = case[1] }, { f = case[3][1] }))
    end
    assert.equal([[field 'f' must be one of "a", 2, true, it is a string ("b")]], check({ f = { enum = { "a", 2, true } } }, { f = "b" }))
    assert.equal([[field 'f' must be "a", it is missing]], check({ f = { "string", enum = { "a" } } }, {}))
    local many = {}
    for n = 1, 14 do many[n] = n end
    assert.equal("field 'f' must be one of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 4 more, it is a number (15)",
      check({ f = { enum = many } }, { f = 15 }))
  end)

  it("take the text of plain fields for one of the values that it means", function()
    local definition = { n = { "integer", enum = { 1, 2 } }, k = { enum = { "add", 3, true } }, s = { "string", enum = { "1" } } }
    for _, case in ipairs { { { n = "2", k = "3", s = "1" }, { n = 2, k = 3, s = "1" } },
      { { n = "1", k = "add", s = "1" }, { n = 1, k = "add", s = "1" } },
      { { n = "+1", k = "true", s = "1" }, { n = 1, k = true, s = "1" } } } do
      assert.is_nil(check(definition, case[1], true))
      assert.same(case[2], case[1])
    end
    for _, event in ipairs { { n = "3", k = "3", s = "1" }, { n = "1", k = "4", s = "1" }, { n = "1", k = "false", s = "1" },
      { n = "1", k = "3", s = "2" } } do
      assert.is_string(check(definition, event, true))
    end
  end)

  it("move what had another name", function()
    local definition = { customer = { "string", renamed = "cust" }, total = { "number", renamed = { "sum", "amount" } },
      note = { "string?", renamed = "text", default = "none" } }
    for _, case in ipairs {
      { { customer = "c", total = 1, note = "n" }, { customer = "c", total = 1, note = "n" } },
      { { cust = "c", sum = 1, text = "n" }, { customer = "c", total = 1, note = "n" } },
      { { cust = "c", amount = 1 }, { customer = "c", total = 1, note = "none" } },
      { { cust = "old", customer = "new", sum = 1, amount = 2 }, { cust = "old", customer = "new", total = 1, amount = 2, note = "none" } },
    } do
      assert.is_nil(check(definition, case[1]))
      assert.same(case[2], case[1])
    end
    assert.equal("field 'customer' must be a string, it is a number (5)", check(definition, { cust = 5, total = 1 }))
    assert.equal("field 'customer' must be a string, it is missing", check(definition, { total = 1 }))
    local text = { cust = "7", sum = "12" }
    assert.is_nil(check(definition, text, true))
    assert.same({ customer = "7", total = 12, note = "none" }, text)
  end)

  it("look into maps and lists, and name the place", function()
    local definition = {
      address = { fields = { city = "string", zip = "string?", geo = { fields = { lat = "number" }, optional = true } } },
      items = { list = { fields = { sku = "string", count = { "integer", default = 1, renamed = "n" } } } },
      tags = { list = "string", optional = true }, grid = { list = { list = "number" }, optional = true },
    }
    local function event(changes)
      local e = { address = { city = "Graz" }, items = array { { sku = "a" }, { sku = "b", n = 2 } }, other = 1 }
      for name, v in pairs(changes or {}) do e[name] = v end
      return e
    end
    local good = event { tags = array { "x" }, grid = array { array { 1, 2 }, array {} } }
    assert.is_nil(check(definition, good))
    assert.same({ { sku = "a", count = 1 }, { sku = "b", count = 2 } }, good.items)
    for _, case in ipairs {
      { { address = {} }, "field 'address.city' must be a string, it is missing" },
      { { address = "Graz" }, [[field 'address' must be a map, it is a string ("Graz")]] },
      { { address = array { "Graz" } }, "field 'address' must be a map, it is a list" },
      { { address = value.ext(1, "x") }, "field 'address' must be a map, it is an ext value" },
      { { address = { city = "Graz", geo = { lat = "47" } } }, [[field 'address.geo.lat' must be a number, it is a string ("47")]] },
      { { items = array { { sku = "a" }, {} } }, "field 'items[2].sku' must be a string, it is missing" },
      { { items = array { { sku = "a", count = 1.5 } } }, "field 'items[1].count' must be an integer, it is a number (1.5)" },
      { { items = array { null } }, "field 'items[1]' must be a map, it is a null" },
      { { items = { sku = "a" } }, "field 'items' must be a list, it is a map" },
      { { items = value.ext(1, "x") }, "field 'items' must be a list, it is an ext value" },
      { { tags = array { "x", 5 } }, "field 'tags[2]' must be a string, it is a number (5)" },
      { { grid = array { array { 1 }, array { 1, "2" } } }, [[field 'grid[2][2]' must be a number, it is a string ("2")]] },
    } do
      assert.equal(case[2], check(definition, event(case[1])))
    end
    assert.equal("field 'items' must be a list, it is missing", check(definition, { address = { city = "x" } }))
    -- text of plain fields is only that of the event's own fields
    assert.is_string(check({ a = { fields = { n = "number" } } }, { a = { n = "1" } }, true))
  end)

  it("take tables of a rule's own for lists when they look like some", function()
    for _, list in ipairs { { 1, 2 }, {}, array { 1 } } do assert.is_nil(check({ l = { list = "number" } }, { l = list })) end
    assert.is_string(check({ l = { list = "number" } }, { l = { a = 1 } }))
  end)

  it("take a null in a list for what is missing", function()
    local event = { l = array { 1, null, 3 } }
    assert.is_nil(check({ l = { list = "number?" } }, event))
    assert.is_true(value.is_null(event.l[2]))
    assert.is_nil(check({ l = { list = { "number", default = 0 } } }, event))
    assert.same({ 1, 0, 3 }, event.l)
    assert.equal("field 'l[1]' must be a number, it is a null", check({ l = { list = "number" } }, { l = array { null } }))
    assert.is_nil(check({ l = { list = "any" } }, { l = array { null } }))
  end)

  it("are read once where they stand in many places, however often they branch", function()
    local fields, event = { n = "number" }, { n = 1 }
    for _ = 1, 40 do
      fields = { a = { fields = fields }, b = { fields = fields, optional = true } }
      event = { a = event }
    end
    assert.is_nil(check(fields, event))
    local deep = event
    while deep.a do deep = deep.a end
    deep.n = "x"
    assert.matches("^field 'a" .. ("%.a"):rep(39) .. "%.n' must be a number", check(fields, event))
  end)

  local loop, chain, huge = {}, {}, {}
  loop.inner = { fields = loop }
  chain.list = chain
  for _ = 1, 60 do huge = { huge, huge } end
  local cyclic = {}
  cyclic.c = cyclic
  for _, case in ipairs {
    { {}, "`event.f` says no type: give one, as in { \"string\", optional = true }, or `enum`, `fields` or `list`" },
    { { optional = true }, "`event.f` says no type: give one, as in { \"string\", optional = true }, or `enum`, `fields` or `list`" },
    { { "strin" }, "the type of `event.f` must be string, number, integer, boolean, table or any, with ? when optional; "
      .. "it is \"strin\"; did you mean \"string\"?" },
    { { 5 }, "the type of `event.f` must be string, number, integer, boolean, table or any, with ? when optional; it is a number" },
    { { "string", optinal = true }, "unknown attribute `optinal` of `event.f`; did you mean `optional`?", "event.f.optinal" },
    { { "string", "number" }, "unknown attribute `2` of `event.f`; known are optional, default, enum, renamed, fields, list" },
    { { "string", [print] = 1 },
      "unknown attribute `(a function)` of `event.f`; known are optional, default, enum, renamed, fields, list" },
    { { city = "string" }, "unknown attribute `city` of `event.f`; known are optional, default, enum, renamed, fields, list" },
    { { "string", optional = "yes" }, "`optional` of `event.f` must be true or false, it is a string", "event.f.optional" },
    { { "string", enum = "EUR" }, "`enum` of `event.f` must be a list of values such as { \"EUR\", \"USD\" }", "event.f.enum" },
    { { "string", enum = {} }, "`enum` of `event.f` must be a list of values such as { \"EUR\", \"USD\" }", "event.f.enum" },
    { { "string", enum = { a = 1 } }, "`enum` of `event.f` must be a list of values such as { \"EUR\", \"USD\" }", "event.f.enum" },
    { { "string", enum = { "a", 5 } },
      "`enum` of `event.f` has a value that its type does not allow: it is \"string\", and this is a number (5)", "event.f.enum" },
    { { enum = { {} } }, "`enum` of `event.f` may have strings, numbers and booleans, not a table", "event.f.enum" },
    { { enum = { 0 / 0 } }, "`enum` of `event.f` may have strings, numbers and booleans, not a number", "event.f.enum" },
    { { "table", enum = { "a" } }, "`enum` of `event.f` goes with strings, numbers and booleans, not with maps and lists", "event.f.enum" },
    { { list = "string", enum = { "a" } }, "`enum` of `event.f` goes with strings, numbers and booleans, not with maps and lists",
      "event.f.enum" },
    { { "string", default = 5 }, "the default of `event.f` does not fit: field 'f' must be a string, it is a number (5)",
      "event.f.default" },
    { { "string", enum = { "a" }, default = "b" },
      "the default of `event.f` does not fit: field 'f' must be \"a\", it is a string (\"b\")",
      "event.f.default" },
    { { fields = { a = "string" }, default = {} }, "the default of `event.f` does not fit: field 'f.a' must be a string, it is missing",
      "event.f.default" },
    { { "any", default = print }, "the default of `event.f` is, or has in it, a function: it must be data", "event.f.default" },
    { { "any", default = { { print } } }, "the default of `event.f` is, or has in it, a function: it must be data", "event.f.default" },
    { { "any", default = { [{}] = 1 } }, "the default of `event.f` has a table as a key", "event.f.default" },
    { { "any", default = cyclic }, "the default of `event.f` is nested too deep, or within itself", "event.f.default" },
    { { "any", default = huge }, "the default of `event.f` has more than 10000 values", "event.f.default" },
    { { "string", renamed = 5 }, "`renamed` of `event.f` must be the older name of the field, or a list of such", "event.f.renamed" },
    { { "string", renamed = {} }, "`renamed` of `event.f` must be the older name of the field, or a list of such", "event.f.renamed" },
    { { "string", renamed = { "a", 5 } }, "`renamed` of `event.f` must be the older name of the field, or a list of such",
      "event.f.renamed" },
    { { "string", renamed = "f" }, "`event.f` cannot be renamed from `f`: that is a field of its own", "event.f.renamed" },
    { { "string", renamed = { "a", "a" } }, "`event.f` cannot be renamed from `a`: that is an older name of `f`", "event.f.renamed" },
    { { list = { "string", renamed = "a" } }, "`event.f[]` has no name that could be another one (`renamed`)", "event.f.list.renamed" },
    { { fields = { a = "string" }, list = "string" }, "`event.f` is a map (`fields`) or a list (`list`), not both", "event.f.list" },
    { { "string", fields = { a = "string" } }, "`event.f` has `fields`, so its type is \"table\"; leave it out" },
    { { fields = "string" }, "`fields` of `event.f` must be a table such as { user_id = \"string\" }", "event.f.fields" },
    { { fields = { a = "strin" } },
      "the type of `event.f.a` must be string, number, integer, boolean, table or any, with ? when optional; "
        .. "it is \"strin\"; did you mean \"string\"?",
      "event.f.fields.a" },
    { { list = { fields = { a = { "string", defalt = 1 } } } }, "unknown attribute `defalt` of `event.f[].a`; did you mean `default`?",
      "event.f.list.fields.a.defalt" },
    { { fields = loop }, "`event.f.inner` is within itself", "event.f.fields.inner.fields" },
    { chain, "`event` is nested deeper than 64 levels, or within itself", "event.f" .. (".list"):rep(64) },
  } do
    it("refuse: " .. case[2], function()
      assert.same({ case[2], case[3] or "event.f" .. (case[2]:match "^unknown attribute `([^`]*)`" and "."
        .. case[2]:match "^unknown attribute `([^`]*)`" or "") }, { problem { f = case[1] } })
    end)
  end

  it("may have 10,000 fields, with all that a field can have, and no more", function()
    local fields, below = {}, { a = "number" }
    for n = 1, 10000 do fields["f" .. n] = { fields = below, optional = true, renamed = { "old" .. n, "older" .. n } } end
    fields.f10000.default = { a = 1 }
    local event = { inner = {} }
    for _, definition in ipairs { fields, { inner = { fields = fields } } } do
      assert.is_nil(check(definition, event))
    end
    assert.same({ 1, 1 }, { event.f10000.a, event.inner.f10000.a })
    fields.one = "string"
    assert.same({ "`event` has more than 10000 fields", "event" }, { problem(fields) })
    assert.same({ "`event.inner` has more than 10000 fields", "event.inner.fields" }, { problem { inner = { fields = fields } } })
  end)

  it("refuse a name that two fields have had", function()
    assert.same({ "`event.a` cannot be renamed from `b`: that is a field of its own", "event.a.renamed" },
      { problem { a = { "string", renamed = "b" }, b = "string?" } })
    assert.same({ "`event.b` cannot be renamed from `x`: that is an older name of `a`", "event.b.renamed" },
      { problem { a = { "string", renamed = "x" }, b = { "string", renamed = "x" } } })
  end)

  it("may say the type of a map or a list", function()
    assert.is_nil(check({ a = { "table", fields = { n = "number" } }, b = { "table?", list = "number" } }, { a = { n = 1 } }))
    assert.is_nil(check({ a = { "string?" } }, {}))
  end)
end)
