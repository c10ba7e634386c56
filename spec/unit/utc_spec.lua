local ffi = require "ffi"
local header = require "spec.support.header"
local runtime = require "spec.support.runtime"
local C = header.load("src/base/utc.h")

local function format(ms)
  local text = ffi.new("char[?]", C.UTC_LEN + 8)
  ffi.fill(text, C.UTC_LEN + 8, 0x5a)
  C.utc_format(ms, text)
  assert(text[C.UTC_LEN] == 0x5a, "wrote behind its end")
  return ffi.string(text)
end

describe("a moment in UTC", function()
  it("is right at the edges of days, years and leap years", function()
    for text, ms in pairs {
      ["1970-01-01T00:00:00.000Z"] = 0, ["1970-01-01T00:00:00.001Z"] = 1, ["1970-01-01T23:59:59.999Z"] = 86399999,
      ["1972-02-29T12:00:00.000Z"] = 68212800000, ["1999-12-31T23:59:59.999Z"] = 946684799999,
      ["2000-01-01T00:00:00.000Z"] = 946684800000, ["2000-02-29T00:00:00.000Z"] = 951782400000,
      ["2038-01-19T03:14:08.000Z"] = 2147483648000, ["2100-02-28T23:59:59.000Z"] = 4107542399000,
      ["2100-03-01T00:00:00.000Z"] = 4107542400000, ["9999-12-31T23:59:59.999Z"] = 253402300799999,
    } do
      assert.equal(text, format(ms))
    end
  end)

  it("stops at the end of the year 9999", function()
    for _, ms in ipairs { 253402300800000ULL, 2ULL ^ 53, 2ULL ^ 63, -1ULL } do
      assert.equal("9999-12-31T23:59:59.999Z", format(ms))
    end
  end)

  local seed = runtime.seed()
  it("is what os.date says, whatever the zone, seed " .. seed, function()
    local draw = runtime.generator(seed)
    for _ = 1, 5000 do
      local seconds, ms = draw(2 ^ 31) * 100 + draw(100), draw(1000) - 1
      assert.equal(os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. (".%03dZ"):format(ms), format(seconds * 1000 + ms), "seed " .. seed)
    end
  end)
end)
