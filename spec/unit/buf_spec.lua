local ffi = require "ffi"
local codec = require "spec.support.codec"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/base/buf.h")

local function create()
  return ffi.gc(ffi.new("struct buf"), C.buf_fini)
end

local function append(b, bytes)
  codec.with_exact(bytes, function(copy, len) C.buf_append(b, copy, len) end)
end

describe("a buffer", function()
  it("is empty and without memory when zeroed", function()
    local b = create()
    assert.same({ 0, 0 }, { tonumber(b.len), tonumber(b.cap) })
    assert.is_true(b.data == nil)
    C.buf_append(b, nil, 0)
    C.buf_consume(b, 0)
    C.buf_reset(b, 0)
    C.buf_reset(b, 100)
    assert.is_true(b.data == nil)
    C.buf_fini(b)
    C.buf_fini(b)
  end)

  it("keeps what was appended, at every size around a growth", function()
    for _, first in ipairs { 0, 1, 254, 255, 256, 257, 511, 512, 513, 100000 } do
      for _, second in ipairs { 0, 1, 255, 256, 257, 70000 } do
        local b, one, two = create(), ("a"):rep(first), ("b"):rep(second)
        append(b, one)
        append(b, two)
        assert.equal(one .. two, header.text(b))
        assert.is_true(b.cap >= b.len)
      end
    end
  end)

  it("grows by doubling, so that bytes are moved only now and then", function()
    local b, moves, cap = create(), 0, 0
    for _ = 1, 100000 do
      C.buf_append(b, "0123456789", 10)
      if tonumber(b.cap) ~= cap then moves, cap = moves + 1, tonumber(b.cap) end
    end
    assert.equal(1000000, tonumber(b.len))
    assert.is_true(moves < 15 and cap <= 2 ^ 20)
  end)

  it("reserves room behind its bytes without changing them", function()
    local b = create()
    append(b, "kept")
    C.buf_reserve(b, 0)
    for _, more in ipairs { 1, 252, 253, 100000 } do
      C.buf_reserve(b, more)
      assert.is_true(tonumber(b.cap - b.len) >= more)
      ffi.fill(b.data + b.len, more, 0x78) -- all of it may be written
      assert.equal("kept", header.text(b))
    end
    local data = b.data
    C.buf_reserve(b, 50)
    assert.is_true(b.data == data)
  end)

  it("is text with a NUL that is not counted, also at its very end", function()
    local b = create()
    assert.equal("", ffi.string(C.buf_text(b)))
    for len = 250, 260 do
      C.buf_reset(b, 0)
      append(b, ("t"):rep(len))
      assert.equal(("t"):rep(len), ffi.string(C.buf_text(b)))
      assert.equal(len, tonumber(b.len))
    end
  end)

  it("takes what printf makes, of any length", function()
    local b = create()
    C.buf_printf(b, "%s", "")
    assert.equal("", header.text(b))
    C.buf_printf(b, "%d-%s;", ffi.cast("int", -5), "x")
    for len = 240, 260 do C.buf_printf(b, "%s,", ("p"):rep(len)) end
    assert.equal("-5-x;" .. ("p"):rep(240) .. ",", header.text(b):sub(1, 246))
    assert.equal(5 + (250 + 1) * 21, tonumber(b.len))
    C.buf_printf(b, "%s", ("q"):rep(100000))
    assert.equal(("q"):rep(100000), header.text(b):sub(-100000))
  end)

  it("drops bytes at its front", function()
    local b = create()
    append(b, "abcdef")
    C.buf_consume(b, 2)
    assert.equal("cdef", header.text(b))
    C.buf_consume(b, 4)
    assert.equal("", header.text(b))
    append(b, "again")
    assert.equal("again", header.text(b))
  end)

  it("keeps no more room at a reset than it is told", function()
    local b = create()
    append(b, ("x"):rep(1000))
    local cap = tonumber(b.cap)
    C.buf_reset(b, cap)
    assert.same({ 0, cap }, { tonumber(b.len), tonumber(b.cap) })
    append(b, ("y"):rep(1000))
    C.buf_reset(b, cap - 1)
    assert.is_true(b.data == nil and tonumber(b.cap) == 0)
  end)

  local seed = runtime.seed()
  it("is what a Lua string would be, seed " .. seed, function()
    local draw, b, model = runtime.generator(seed), create(), ""
    for _ = 1, 5000 do
      local kind = draw(10)
      if kind <= 6 then
        local bytes = string.char(draw(256) - 1):rep(draw(draw(2) == 1 and 10 or 700) - 1)
        append(b, bytes)
        model = model .. bytes
      elseif kind <= 9 then
        local len = math.min(#model, draw(600) - 1)
        C.buf_consume(b, len)
        model = model:sub(len + 1)
      elseif draw(10) == 1 then
        C.buf_reset(b, draw(2000))
        model = ""
      end
      assert(header.text(b) == model, "seed " .. seed)
    end
  end)
end)
