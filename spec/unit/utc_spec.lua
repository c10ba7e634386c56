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

  local function parse(text)
    local ms = ffi.new("uint64_t[1]", 7)
    if C.utc_parse(text, ms) then
      return tonumber(ms[0])
    end
    assert.equal(7, tonumber(ms[0]))
  end

  it("is read as people write it", function()
    for text, ms in pairs {
      ["1970-01-01"] = 0, ["2000-02-29"] = 951782400000, ["2026-11-22T15:04:05.123Z"] = 1795359845123,
      ["2026-11-22T15:04:05Z"] = 1795359845000, ["2026-11-22 15:04"] = 1795359840000, ["2026-11-22T15:04:05"] = 1795359845000,
      ["2026-11-22T16:04:05+01:00"] = 1795359845000, ["2026-11-22T09:34:05-0530"] = 1795359845000,
      ["2026-11-22T15:04:05.1239999"] = 1795359845123, ["2026-11-22T15:04:05.1Z"] = 1795359845100,
    } do
      assert.equal(ms, parse(text), text)
    end
  end)

  it("is not read from anything else", function()
    for _, text in ipairs { "", "2026", "2026-1-1", "2026-13-01", "2026-02-29", "2026-02-30", "2026-00-10", "2026-01-00", "1969-12-31",
      "2026-11-22T", "2026-11-22T15", "2026-11-22T24:00", "2026-11-22T15:60", "2026-11-22T15:04:05.Z", "2026-11-22T15:04:05z",
      "2026-11-22T15:04:05+1", "2026-11-22T15:04:05+25:00", "2026-11-22 ", "x2026-11-22", "2026-11-22Z", "20261122" } do
      assert.is_nil(parse(text), text)
    end
  end)

  it("is read as it was written, seed " .. seed, function()
    local draw = runtime.generator(seed)
    for _ = 1, 2000 do
      local ms = draw(2 ^ 31) * 1000 + draw(1000) - 1
      assert.equal(ms, parse(format(ms)), "seed " .. seed)
    end
  end)
end)
