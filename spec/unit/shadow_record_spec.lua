-- What a record of a shadow rule says of an effect.
local ffi = require "ffi"
local codec = require "spec.support.codec"
local engine = require "spec.support.engine"
local header = require "spec.support.header"
local C = header.load("src/base/buf.h", "src/batch/shadow_record.h")

local function command(...)
  local words = { ... }
  local parts = { ("*%d\r\n"):format(#words) }
  for _, word in ipairs(words) do parts[#parts + 1] = ("$%d\r\n%s\r\n"):format(#word, word) end
  return table.concat(parts)
end

local function packed(...)
  local out, bytes = ffi.new "struct buf", command(...)
  codec.with_exact(bytes, function(copy, len) C.shadow_record_pack_effect(out, copy, len) end)
  local text = ffi.string(out.data, out.len)
  C.buf_fini(out)
  return text
end

local EVENT = engine.pack { a = 1, b = { "x", "y" } }

describe("a record has an effect that", function()
  it("emits, as stream and event", function()
    assert.equal("\x92\xa3out" .. EVENT, packed("XADD", "out", "*", "data", EVENT))
    assert.equal("\x92\xa3out" .. EVENT, packed("XADD", "out", "MAXLEN", "~", "10", "*", "data", EVENT))
    assert.same({ "out", { a = 1, b = { 2 } } }, engine.unpack(packed("XADD", "out", "*", "data", '{"a":1,"b":[2]}')))
  end)

  it("is a command, as its words", function()
    for _, words in ipairs { { "INCR", "n" }, { "SET", "k", "\r\n$1\r\n" }, { "SET", "", "" }, { "XADD", "out", "*", "other", EVENT },
      { "XADD", "out", "1-1", "data", EVENT }, { "XADD", "out", "*", "data", "text" }, { "XADD", "out", "*", "data", "" },
      { "XADD", "out", "*", "data", "{no JSON" }, { "XADD", "out", "*", "a", "b", "data", EVENT }, { "HSET", "h", "*", "data", EVENT } } do
      assert.same(words, engine.unpack(packed(unpack(words))))
    end
  end)
end)
