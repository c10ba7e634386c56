-- Numbers for names: the same for good, whatever else comes.
local ffi = require "ffi"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/base/names.h")

describe("names", function()
  local names

  before_each(function() names = ffi.gc(C.names_create(), C.names_destroy) end)

  local function number(text) return C.names_number(names, text, #text) end

  local function text(n)
    local len = ffi.new("size_t[1]")
    local bytes = C.names_text(names, n, len)
    return ffi.string(bytes, len[0]), ffi.string(bytes)
  end

  it("are numbered from 1, in the order of their coming", function()
    assert.same({ 1, 2, 1, 3, 2 }, { number "a", number "b", number "a", number "", number "b" })
    assert.equal(3, C.names_count(names))
    assert.same({ "a", "b", "" }, { (text(1)), (text(2)), (text(3)) })
  end)

  it("may hold any byte, and end with NUL for C", function()
    assert.same({ 1, 2 }, { number "x\0y", number "x" })
    assert.same({ "x\0y", "x" }, { text(1) })
  end)

  it("stay what they are when many come", function()
    local seed = runtime.seed()
    local random = runtime.generator(seed)
    local model, first = {}, ffi.string(C.names_text(names, number "first", nil))
    local kept = C.names_text(names, 1, nil)
    assert.equal("first", first)
    local count = 1
    for _ = 1, 20000 do
      local name = "stream:" .. random(8000)
      if not model[name] then
        count = count + 1
        model[name] = count
      end
      assert.equal(model[name], number(name), "seed " .. seed)
    end
    assert.equal(count, C.names_count(names))
    for name, n in pairs(model) do assert.equal(name, (text(n))) end
    assert.equal(kept, C.names_text(names, 1, nil)) -- the text has not moved
  end)
end)
