local ffi = require "ffi"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/base/arena.h")

local BLOCK = 256 * 1024

local function create()
  return ffi.gc(ffi.new("struct arena"), C.arena_fini)
end

local function address(pointer)
  return tonumber(ffi.cast("uintptr_t", pointer))
end

local function used(a)
  return tonumber(a.used_bytes)
end

describe("an arena", function()
  it("gives memory that is aligned for any type, whatever was asked before", function()
    local a = create()
    for bytes = 0, 300 do assert.equal(0, address(C.arena_alloc(a, bytes)) % 16, bytes) end
    for _, bytes in ipairs { BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5 } do
      assert.equal(0, address(C.arena_alloc(a, bytes)) % 16, bytes)
    end
  end)

  it("counts what it handed out, rounded up", function()
    local a = create()
    assert.equal(0, used(a))
    C.arena_alloc(a, 1)
    assert.equal(16, used(a))
    C.arena_alloc(a, 16)
    C.arena_alloc(a, 0)
    assert.equal(32, used(a))
    C.arena_alloc(a, 17)
    assert.equal(64, used(a))
    C.arena_reset(a, 1e9)
    assert.equal(0, used(a))
  end)

  it("gives blocks larger than its own, and goes on with small ones", function()
    local a, list = create(), {}
    for i, bytes in ipairs { 10, BLOCK, 10, 10 * BLOCK, 10, BLOCK - 16, 32, BLOCK + 1 } do
      list[i] = { C.arena_alloc(a, bytes), bytes }
      ffi.fill(list[i][1], bytes, i)
    end
    for i, piece in ipairs(list) do
      assert.equal(string.char(i):rep(piece[2]), ffi.string(piece[1], piece[2]))
    end
  end)

  it("uses again after a reset what it kept", function()
    local a = create()
    local first = address(C.arena_alloc(a, 100))
    local second = address(C.arena_alloc(a, BLOCK)) -- in a block of its own
    C.arena_reset(a, 2 * BLOCK)
    assert.equal(first, address(C.arena_alloc(a, 100)))
    assert.equal(second, address(C.arena_alloc(a, BLOCK)))
    C.arena_reset(a, BLOCK)
    assert.equal(first, address(C.arena_alloc(a, BLOCK)))
  end)

  it("keeps no more than it is told", function()
    for _, keep in ipairs { 0, BLOCK - 1, BLOCK, 2 * BLOCK, 5 * BLOCK } do
      local a = create()
      for _ = 1, 20 do C.arena_alloc(a, BLOCK / 2 + 16) end
      C.arena_reset(a, keep)
      local blocks, next_block = 0, ffi.cast("void **", a.first)
      while next_block ~= nil do
        blocks, next_block = blocks + 1, ffi.cast("void **", next_block[0])
      end
      assert.equal(math.floor(keep / BLOCK), blocks)
      assert.is_true(a.now == a.first)
    end
  end)

  it("skips a kept block that is too small, and finds the large one behind it", function()
    local a = create()
    C.arena_alloc(a, 16)
    C.arena_alloc(a, BLOCK)
    local large = address(C.arena_alloc(a, 4 * BLOCK))
    C.arena_reset(a, 100 * BLOCK)
    assert.equal(large, address(C.arena_alloc(a, 3 * BLOCK)))
    local behind = address(C.arena_alloc(a, BLOCK)) -- still fits behind it
    assert.equal(large + 3 * BLOCK, behind)
  end)

  it("is as good as new after fini", function()
    local a = create()
    C.arena_alloc(a, 10 * BLOCK)
    C.arena_fini(a)
    assert.is_true(a.first == nil and a.now == nil and used(a) == 0)
    assert.is_true(C.arena_alloc(a, 10) ~= nil)
    C.arena_fini(a)
    C.arena_fini(a)
  end)

  local seed = runtime.seed()
  it("never gives the same bytes twice between resets, seed " .. seed, function()
    local draw, a = runtime.generator(seed), create()
    for round = 1, 60 do
      local list = {}
      for i = 1, draw(60) do
        local bytes = draw(12) == 1 and draw(3 * BLOCK) or draw(6) == 1 and draw(BLOCK / 4) or draw(300)
        local memory = C.arena_alloc(a, bytes)
        list[i] = { memory, bytes }
        ffi.fill(memory, bytes, (round + i) % 251)
      end
      for i, piece in ipairs(list) do
        local bytes, want = ffi.cast("uint8_t *", piece[1]), (round + i) % 251
        assert(bytes[0] == want and bytes[piece[2] - 1] == want and bytes[math.floor(piece[2] / 2)] == want, "seed " .. seed)
      end
      C.arena_reset(a, draw(8) * BLOCK / 2)
    end
  end)
end)
