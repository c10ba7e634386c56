local runtime = require "spec.support.runtime"
local pack = require "tidemill.pack"
local shape = require "tidemill.shape"
local testing_host = require "tidemill.testing_host"
local unpack_reader = require("tidemill.unpack").reader
local value = require "tidemill.value"
local ffi = require "ffi"

local array, null, int64 = value.array, value.null, value.int64
local host = testing_host.create { limits = {}, rules = {}, is_input = function() return false end }

local function tokens_of(bytes)
  local tokens = ffi.new "struct tokens"
  local reader = unpack_reader(tokens)
  assert(reader:read(bytes, 64, 65536))
  return tokens.list, reader
end

local function raw_map(...) -- names and values, in this order, also twice the same
  local parts = {}
  for n = 1, select("#", ...) do parts[n] = assert(pack.string((select(n, ...)))) end
  return string.char(0x80 + #parts / 2) .. table.concat(parts)
end

-- The table built by a constructor for its shape, checked against the table that is built token by token.
local function built(bytes, filter)
  local list, reader = tokens_of(bytes)
  local t = shape.constructor(list, 0, filter)(list)
  if not filter then assert.same(shape.build(list, 0), t) end
  assert(reader)
  return t
end

local function number_of(t)
  local list, reader = tokens_of(type(t) == "string" and t or assert(pack.string(t)))
  assert(reader)
  return host:shape_number(list, 0)
end

describe("shapes", function()
  it("build what is there", function()
    for _, t in ipairs {
      {}, { a = 1 }, { a = 1, b = "x", c = true, d = false, e = { f = { g = "deep" } } }, { list = { 1, 2, { 3 } }, after = "x" },
      { a = array {}, b = array {}, c = 1 }, { one = { 1, 2 }, two = { { x = 1 }, { y = { 2 } } }, three = "3", four = { five = { 5 } } },
      { [""] = "empty name", ["with space"] = 1, ["ünïcödé"] = 2, ["]]"] = 3, ['"'] = 4, ["\\"] = 5, ["\n\r\0\255"] = 6,
        ["end"] = 7, ["%d"] = 8, ["1"] = 9, ["$when"] = 10 },
    } do
      assert.same(t, built(assert(pack.string(t))))
    end
    local big = built(raw_map("big", int64 "9007199254740993", "bigger", int64 "18446744073709551615", "e", value.ext(5, "bytes")))
    assert.equal("9007199254740993 18446744073709551615", big.big .. " " .. big.bigger)
    assert.same({ type = 5, bytes = "bytes" }, big.e)
    assert.equal("ext", getmetatable(big.e))
  end)

  it("leave nil fields out, and make null of nil in arrays", function()
    local t = built(raw_map("a", nil, "b", 1, "c", array { 1, null, 2 }, "d", { e = null }))
    assert.is_nil(t.a)
    assert.is_true(t.c[2] == null)
    assert.is_nil(t.d.e)
    assert.equal(3, #t.c)
  end)

  it("take the last of two fields of one name, whatever their types", function()
    for _, case in ipairs { { 1, 2 }, { 1, "x" }, { "x", nil }, { nil, "x" }, { { 1 }, 2 }, { 2, { 1 } }, { { a = 1 }, { b = 2 } },
      { true, nil }, { nil, false }, { array {}, array { 1 } } } do
      local t = built(raw_map("k", case[1], "other", 5, "k", case[2]))
      assert.same(case[2], t.k)
      assert.equal(5, t.other)
      assert.equal(6, built(raw_map("k", case[1], "k", case[2], "k", nil, "n", 6)).n)
    end
  end)

  it("find fields behind arrays of any length", function()
    -- By hand: the order in which a table's fields are packed is nobody's promise, and another order is another shape.
    local function bytes_of(t)
      local inner = raw_map("c", t.b.c, "d", t.b.d)
      return "\131" .. raw_map("a", t.a):sub(2) .. "\161b" .. inner .. raw_map("e", t.e):sub(2)
    end
    local list, reader = tokens_of(bytes_of { a = array { 1 }, b = { c = array { 1, 2 }, d = "d" }, e = "e" })
    local build = shape.constructor(list, 0)
    for _, t in ipairs { { a = array {}, b = { c = array { { x = 1 } }, d = "D" }, e = "E" },
      { a = array { 1, { 2, { 3 } }, 4 }, b = { c = array {}, d = "" }, e = "" } } do
      local again, kept = tokens_of(bytes_of(t))
      assert.same(t, build(again))
      assert(kept)
    end
    assert(reader)
  end)

  it("have one number only when names, types and nesting are the same", function()
    local numbers = {}
    local function add(bytes) numbers[#numbers + 1] = number_of(bytes) end
    for _, bytes in ipairs {
      raw_map("a", 1), raw_map("a", "1"), raw_map("a", true), raw_map("a", nil), raw_map("a", {}), raw_map("a", array()),
      raw_map("a", int64 "9007199254740993"), raw_map("a", int64 "18446744073709551615"), raw_map("a", value.ext(1, "x")),
      raw_map("b", 1), raw_map("ab", 1), raw_map("a", 1, "b", 2), raw_map("b", 1, "a", 2), raw_map("a", { b = 1 }),
      raw_map("a", { b = { c = 1 } }), raw_map("a", {}, "b", 1), raw_map("", 1), raw_map("a\0", 1), raw_map("n1:b", 1),
      raw_map("a", 1, "a", 1),
      raw_map("k1:a", 1), raw_map("an", 1, "k1:b", 1), raw_map(), raw_map("a", { b = 1 }, "c", 1), raw_map("a", { b = 1, c = 1 }),
    } do add(bytes) end
    for i, a in ipairs(numbers) do
      assert.is_true(a >= 0)
      for k, b in ipairs(numbers) do assert.equal(i == k, a == b, i .. " " .. k) end
    end
    assert.equal(number_of(raw_map("a", 1)), number_of(raw_map("a", 1e300)))
    assert.equal(number_of(raw_map("a", true)), number_of(raw_map("a", false)))
    assert.equal(number_of(raw_map("a", array {})), number_of(raw_map("a", array { 1, { x = 2 } })))
  end)

  it("have none when names are no strings, there is too much, or too many shapes", function()
    assert.equal(-1, number_of { [1] = "a", x = 1 })
    assert.equal(-1, number_of { a = { [2] = 1 } })
    assert.equal(-1, number_of "\145\1")
    local wide = {}
    for i = 1, 64 do wide["field" .. i] = i end
    assert.equal(-1, number_of(wide))
    wide.field64 = nil
    assert.is_true(number_of(wide) >= 0)
    local fresh = testing_host.create { limits = {}, rules = {}, is_input = function() return false end }
    for i = 1, 1100 do
      local list, reader = tokens_of(raw_map("name" .. i, 1))
      assert.equal(i <= 1024 and i - 1 or -1, fresh:shape_number(list, 0))
      assert(reader)
    end
  end)

  it("build wide, deep and many-arrayed documents", function()
    local t, parts = {}, {}
    for i = 1, 60 do t["a" .. i] = array { i, { i } } end
    assert.same(t, built(assert(pack.string(t))))
    local deep = { x = 1 }
    for i = 1, 30 do deep = { ["level" .. i] = deep, n = i } end
    assert.same(deep, built(assert(pack.string(deep))))
    for i = 1, 500 do parts["f" .. i] = i end
    local list, reader = tokens_of(assert(pack.string(parts)))
    assert.same(parts, (shape.build(list, 0)))
    assert(reader)
  end)

  it("read any document as it is read token by token", function()
    local seed = runtime.seed()
    local draw = runtime.generator(seed)
    local names = { "a", "b", "type", "x y", "", "\0", "é" }
    local function any(depth)
      local kind = draw(depth > 3 and 7 or 9)
      if kind == 1 then return draw(1000) end
      if kind == 2 then return ("s"):rep(draw(40) - 1) end
      if kind == 3 then return draw(2) == 1 end
      if kind == 4 then return null end
      if kind == 5 then return int64 "9007199254740993" end
      if kind == 6 then return value.ext(draw(100), "xy") end
      if kind == 7 then return draw() end
      local t = {}
      if kind == 8 then
        for i = 1, draw(4) - 1 do t[i] = any(depth + 1) end
        return array(t)
      end
      for _ = 1, draw(4) - 1 do t[names[draw(#names)]] = any(depth + 1) end
      return t
    end
    for _ = 1, 500 do
      local fields = {}
      for n = 1, 2 * draw(6), 2 do
        fields[n], fields[n + 1] = names[draw(#names)], any(1)
      end
      local ok, why = pcall(built, raw_map(unpack(fields, 1, #fields)))
      assert(ok, ("seed %d: %s"):format(seed, tostring(why)))
    end
  end)
end)

describe("filters", function()
  local function fits(bytes, filter) return built(bytes, filter) ~= nil end
  local function one_of(...)
    local allowed = {}
    for _, v in ipairs { ... } do allowed[v] = true end
    return allowed
  end

  it("compare a field with one value or several", function()
    for _, case in ipairs {
      { "x", one_of "x", true }, { "x", one_of "y", false }, { "x", one_of("y", "x"), true }, { "x", one_of("y", 1), false },
      { 5, one_of(5), true }, { 5, one_of "5", false }, { "5", one_of(5), false }, { 5, one_of(4, 6), false }, { 0, one_of(false), false },
      { true, one_of(true), true }, { false, one_of(true), false }, { false, { [false] = true }, true },
      { true, { [false] = true }, false },
      { nil, one_of "x", false }, { { 1 }, one_of(1), false }, { { a = "x" }, one_of "x", false }, { 0 / 0, one_of(1), false },
      { int64 "9007199254740993", one_of(9007199254740992), false }, { "a\0\"]]", one_of "a\0\"]]", true }, { "", one_of "", true },
    } do
      local filter = { { "f", case[2] } }
      assert.equal(case[3], fits(raw_map("f", case[1]), filter))
      assert.equal(case[3], fits(raw_map("before", array { 1, { 2 } }, "f", case[1], "after", { 1 }), filter))
      assert.equal(case[3], fits(raw_map("before", { x = array { 1 } }, "other", "x", "f", case[1]), filter))
      assert.equal(case[3], fits(raw_map("f", "never", "f", case[1]), filter))
      assert.is_false(fits(raw_map("g", case[1]), filter))
    end
  end)

  it("need all their fields to fit", function()
    local filter = { { "a", one_of "x" }, { "b", one_of(1, 2) } }
    assert.is_true(fits(raw_map("a", "x", "list", array { 1, 2 }, "b", 2), filter))
    assert.is_true(fits(raw_map("list", array { 1, 2 }, "b", 2, "more", array {}, "a", "x"), filter))
    assert.is_false(fits(raw_map("a", "x", "b", 3), filter))
    assert.is_false(fits(raw_map("a", "y", "b", 1), filter))
    assert.is_false(fits(raw_map("a", "x"), filter))
  end)
end)
