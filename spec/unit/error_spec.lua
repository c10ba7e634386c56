local ffi = require "ffi"
local header = require "spec.support.header"
local C = header.load("src/base/error.h")

describe("an error", function()
  it("is a code and a sentence", function()
    local e = ffi.new("struct error")
    assert.equal(tonumber(C.ERROR_LIMIT), C.error_set(e, C.ERROR_LIMIT, "%s of %d", "seven", ffi.cast("int", 9)))
    assert.same({ tonumber(C.ERROR_LIMIT), "seven of 9" }, { tonumber(e.code), ffi.string(e.text) })
  end)

  it("may be asked for by its code alone", function()
    assert.equal(tonumber(C.ERROR_RULE), C.error_set(nil, C.ERROR_RULE, "%s", "nobody reads it"))
  end)

  it("is cut where its room ends", function()
    local room = ffi.sizeof(ffi.new("struct error").text)
    for _, len in ipairs { room - 2, room - 1, room, room + 1, 100000 } do
      local e = ffi.new("struct error")
      C.error_set(e, C.ERROR_SYSTEM, "%s", ("x"):rep(len))
      assert.equal(("x"):rep(math.min(len, room - 1)), ffi.string(e.text))
    end
  end)
end)
