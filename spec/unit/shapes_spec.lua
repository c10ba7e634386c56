local ffi = require "ffi"
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/rules/shapes.h")
local hex, big, headed = codec.hex, codec.big, codec.head

local LIMITS = ffi.new("struct msgpack_limits", 200, 1000000)

local function create()
  return ffi.gc(C.shapes_create(), C.shapes_destroy)
end

-- The number of a document's shape, by `last` (a fresh memory when not given). Its bytes are gone when this returns.
local function number(shapes, bytes, last)
  local tokens = ffi.new("struct tokens")
  last = last or ffi.new("int32_t[1]", -1)
  return (codec.with_exact(bytes, function(copy, len)
    assert(C.msgpack_tokens(copy, len, LIMITS, tokens, nil) == 0)
    -- Exactly as many tokens as there are, for AddressSanitizer.
    local list = ffi.cast("struct token *", ffi.C.malloc(tokens.count * ffi.sizeof "struct token"))
    ffi.copy(list, tokens.list, tokens.count * ffi.sizeof "struct token")
    local found = C.shapes_number(shapes, list, last)
    ffi.C.free(list)
    C.tokens_fini(tokens)
    return found
  end))
end

-- A map from { name, bytes, name, bytes, … }
local function map(fields)
  local parts = { headed("map", #fields / 2) }
  for i = 1, #fields, 2 do
    parts[#parts + 1] = headed("string", #fields[i]) .. fields[i] .. fields[i + 1]
  end
  return table.concat(parts)
end

local TRUE, FALSE, NIL, ONE = "\xc3", "\xc2", "\xc0", "\1"

-- A map of `count` fields whose names begin with `prefix`.
local function wide(count, prefix)
  local fields = {}
  for i = 1, count do
    fields[#fields + 1] = (prefix or "f") .. i
    fields[#fields + 1] = ONE
  end
  return map(fields)
end

local function nested(depth)
  local bytes = map { "leaf", ONE }
  for _ = 2, depth do bytes = map { "in", bytes } end
  return bytes
end

describe("the number of a shape", function()
  it("counts from 0, and is the same for other values", function()
    local s = create()
    assert.equal(0, number(s, map { "a", ONE, "b", "\xa1x" }))
    assert.equal(1, number(s, map { "a", ONE }))
    assert.equal(2, number(s, "\x80"))
    assert.equal(0, number(s, map { "a", "\xcb" .. big(0, 8), "b", "\xdb" .. big(70000, 4) .. ("y"):rep(70000) }))
    assert.equal(0, number(s, map { "a", "\xd0\x80", "b", "\xc4\2\0\0" }))
    assert.equal(1, number(s, "\xde\0\1\xd9\1a\xce" .. big(7, 4))) -- other forms of the same
    assert.equal(2, number(s, "\xdf\0\0\0\0"))
  end)

  it("is another one for another name, type, order, count or nesting", function()
    local s, seen = create(), {}
    local list = {
      map { "a", ONE }, map { "b", ONE }, map { "A", ONE }, map { "aa", ONE }, map { "", ONE }, map { "a\0", ONE }, map { "\0", ONE },
      map { "a", "\xa1x" }, map { "a", NIL }, map { "a", TRUE }, map { "a", "\xcf" .. ("\x7f"):rep(8) },
      map { "a", "\xcf" .. ("\xff"):rep(8) }, map { "a", "\xd4\1x" }, map { "a", "\x90" },
      map { "a", "\x80" }, map { "a", map { "a", ONE } }, map { "a", map { "a", map { "a", ONE } } },
      map { "a", ONE, "b", ONE }, map { "b", ONE, "a", ONE }, map { "a", ONE, "a", ONE }, map { "a", ONE, "b", ONE, "c", ONE },
      map { "a", map { "b", ONE }, "c", ONE }, map { "a", map { "b", ONE, "c", ONE } }, map { "a", map { "c", ONE }, "b", ONE },
      map { "a", "\x80", "b", ONE },
      map { "a", ONE, "b", "\x80" }, map { "a", map { "b", "\x80" } }, map { "a", map { "b", "\x80", "c", ONE } },
    }
    for round = 1, 2 do
      local last = ffi.new("int32_t[1]", -1)
      for i, bytes in ipairs(list) do
        local n = number(s, bytes, last)
        assert.is_true(n >= 0)
        assert.is_true(seen[n] == nil or seen[n] == i, ("documents %d and %d in round %d"):format(seen[n] or 0, i, round))
        seen[n] = i
      end
    end
    assert.equal(#list, number(s, map { "new", ONE }))
  end)

  it("tells names apart by every byte, at every length", function()
    local s = create()
    local last = ffi.new("int32_t[1]", -1)
    for len = 1, 24 do
      local name = ("n"):rep(len)
      local first = number(s, map { name, ONE })
      for at = 1, len do
        local other = map { name:sub(1, at - 1) .. "N" .. name:sub(at + 1), ONE }
        last[0] = first
        assert.is_true(number(s, other, last) ~= first, ("byte %d of %d"):format(at, len))
        assert.is_true(number(s, other) ~= first)
      end
      last[0] = first
      assert.equal(first, number(s, map { name, ONE }, last))
    end
  end)

  it("takes true and false as one type, and an array as one value", function()
    local s = create()
    local n = number(s, map { "a", TRUE, "b", FALSE })
    for _, fields in ipairs { { "a", FALSE, "b", TRUE }, { "a", TRUE, "b", TRUE }, { "a", FALSE, "b", FALSE } } do
      assert.equal(n, number(s, map(fields)))
      local last = ffi.new("int32_t[1]", n)
      assert.equal(n, number(s, map(fields), last))
    end
    local a = number(s, map { "a", "\x90", "b", ONE })
    for _, array in ipairs { "\x91\1", "\x93\1\xa1x\xc0", "\x91\x81\xa1k\x91\x80", "\xdc" .. big(1000, 2) .. ("\1"):rep(1000) } do
      assert.equal(a, number(s, map { "a", array, "b", ONE }))
      assert.is_true(number(s, map { "a", array, "b", TRUE }) ~= a)
      assert.equal(a, number(s, map { "a", array, "b", ONE }, ffi.new("int32_t[1]", a)))
    end
  end)

  it("is none for what is no map, or has a key that is no string", function()
    local s = create()
    for _, bytes in ipairs { "\1", "\xa1x", "\x90", "\xc0", "\xd4\1x", "\x91\x81\xa1a\1", "\x81\1\1", "\x81\xc0\1", "\x81\x90\1",
      "\x81\x81\xa1a\1\1", map { "a", ONE, "b", "\x81\1\1" }, "\x82\xa1a\1\2\1" } do
      assert.equal(-1, number(s, bytes), codec.to_hex(bytes))
    end
    assert.equal(0, number(s, "\x80"))
  end)

  it("is looked for where the last one was, which may be wrong", function()
    local s, last = create(), ffi.new("int32_t[1]", -1)
    local a, b = map { "a", ONE }, map { "b", ONE, "c", ONE }
    assert.same({ 0, 1 }, { number(s, a, last), number(s, b, last) })
    for _, wrong in ipairs { -1, 0, 1, 2, 1023, 2147483647, -2147483648 } do
      last[0] = wrong
      assert.equal(1, number(s, b, last))
      last[0] = wrong
      assert.equal(0, number(s, a, last))
      assert.equal(0, last[0])
    end
    last[0] = 1
    assert.equal(-1, number(s, "\1", last))
    assert.equal(-1, number(s, "\x90", last))
    assert.equal(2, number(s, map { "b", ONE }, last)) -- the beginning of another shape
    last[0] = 2
    assert.equal(1, number(s, b, last)) -- and one that goes on behind it
  end)
end)

describe("the limits of shapes", function()
  it("are 128 rows: 63 fields", function()
    local s = create()
    assert.equal(0, number(s, wide(63)))
    assert.equal(0, number(s, wide(63), ffi.new("int32_t[1]", 0)))
    assert.equal(-1, number(s, wide(64)))
    assert.equal(-1, number(s, wide(5000)))
    assert.equal(1, number(s, map { "in", wide(62) }))
    assert.equal(-1, number(s, map { "in", wide(63) }))
    assert.equal(2, number(s, map { "long", "\xdc" .. big(5000, 2) .. ("\1"):rep(5000) }))
  end)

  it("are 32 maps in each other", function()
    local s = create()
    assert.equal(0, number(s, nested(32)))
    assert.equal(0, number(s, nested(32), ffi.new("int32_t[1]", 0)))
    assert.equal(-1, number(s, nested(33)))
    assert.equal(-1, number(s, nested(60)))
    assert.equal(1, number(s, nested(31)))
  end)

  it("are 1024 shapes; those known stay known", function()
    local s, last = create(), ffi.new("int32_t[1]", -1)
    for i = 0, 1023 do assert.equal(i, number(s, map { "field" .. i, ONE }, last)) end
    for i = 1024, 1100 do assert.equal(-1, number(s, map { "field" .. i, ONE }, last)) end
    for i = 1023, 0, -1 do
      assert.equal(i, number(s, map { "field" .. i, ONE }, last))
      assert.equal(i, last[0])
    end
    assert.equal(-1, number(s, "\x80", last))
  end)
end)

-- Few names and types, so that the same shape comes often and nearly the same one more often. The signature is built here,
-- beside the bytes, from what a shape is said to be.
describe("shapes against a model", function()
  local NAMES = { "a", "b", "user", "userid", "customer", "customer1", "customer2", "customer_id_of_order",
    "customer_id_of_cart ", "", "\0", "a\0" }
  local LEAVES = {
    { "n", function(draw) return draw(2) == 1 and string.char(draw(128) - 1) or "\xcb" .. big(draw(2 ^ 30), 4) .. ("\0"):rep(4) end },
    { "s", function(draw)
      local len = draw(40) - 1
      return headed("string", len) .. ("v"):rep(len)
    end },
    { "bool", function(draw) return draw(2) == 1 and TRUE or FALSE end },
    { "z", function() return NIL end }, { "i", function() return "\xd3\x80\0\0\0\0\0\0\1" end },
    { "u", function() return "\xcf\xff\0\0\0\0\0\0\1" end },
    { "x", function(draw) return "\xd4" .. string.char(draw(100)) .. "x" end },
    { "array", function(draw)
      local count = draw(4) - 1
      return headed("array", count) .. ("\x81\xa1k\x91\1"):rep(count)
    end },
  }

  local function document(draw, depth)
    local fields, signature = {}, {}
    for i = 1, draw(4) - 1 do
      local name = NAMES[draw(#NAMES)]
      local bytes, kind
      if depth < 3 and draw(4) == 1 then
        bytes, kind = document(draw, depth + 1)
      else
        local leaf = LEAVES[draw(#LEAVES)]
        kind, bytes = leaf[1], leaf[2](draw)
      end
      fields[#fields + 1], fields[#fields + 2] = name, bytes
      signature[i] = ("%d:%s=%s"):format(#name, name, kind)
    end
    return map(fields), "{" .. table.concat(signature, ",") .. "}"
  end

  local seed = runtime.seed()
  it("are the same for the same signature only, seed " .. seed, function()
    local draw, again = runtime.generator(seed), 0
    for round = 1, 12 do
      local s, by_signature, by_number, count = create(), {}, {}, 0
      local last = ffi.new("int32_t[1]", -1)
      for _ = 1, 1500 do
        local bytes, signature = document(draw, round % 3)
        if draw(10) == 1 then last[0] = draw(1100) - 2 end
        local n, want = number(s, bytes, last), by_signature[signature]
        if want then
          assert.equal(want, n, "seed " .. seed)
          again = again + 1
        elseif count < 1024 then
          assert.equal(count, n, "seed " .. seed)
          assert.is_nil(by_number[n])
          by_signature[signature], by_number[n], count = n, signature, count + 1
        else
          assert.equal(-1, n, "seed " .. seed)
        end
      end
    end
    assert.is_true(again > 2000, again .. " documents had a shape seen before")
  end)
end)

describe("a shape's names", function()
  it("outlive the document that brought them", function()
    local s = create()
    for i = 1, 100 do number(s, hex "81" .. headed("string", 6) .. ("name%02d"):format(i % 50) .. ONE) end
    for i = 1, 49 do assert.equal(i - 1, number(s, map { ("name%02d"):format(i), ONE })) end
  end)
end)
