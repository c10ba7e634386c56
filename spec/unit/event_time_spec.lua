require "spec.support.runtime"
local event_time = require "tidemill.event_time"
local value = require "tidemill.value"

local T = 1700000000000 -- 2023-11-14T22:13:20Z

describe("event_time.parse", function()
  local function reads(cases)
    for _, case in ipairs(cases) do assert.equal(case[2], event_time.parse(case[1]), tostring(case[1])) end
  end

  local function refuses(list)
    for n, v in ipairs(list) do assert.is_nil(event_time.parse(v), type(v) == "string" and v or "number " .. n) end
  end

  it("reads numbers: seconds below 1e11, else ms", function()
    reads {
      { 0, 0 }, { 1, 1000 }, { 1700000000, T }, { 1700000000.25, T + 250 }, { 1700000000.123, T + 123 },
      { 1700000000.1239, T + 123 }, { 99999999999, 99999999999000 }, { 100000000000, 100000000000 }, { T, T },
      { T + 0.9, T }, { 2 ^ 53 - 1, 2 ^ 53 - 1 }, { -0, 0 },
    }
    for ms = 0, 999 do assert.equal(T + ms, event_time.parse((T + ms) / 1000)) end
    refuses { -1, -0.5, 0 / 0, math.huge, -math.huge, 2 ^ 53, 1.7e18 }
  end)

  it("reads exact integers, and the text of numbers", function()
    reads {
      { value.int64 "1700000000", T }, { value.int64 "1700000000000", T }, { "1700000000", T }, { "1700000000.25", T + 250 },
      { "1700000000.123456", T + 123 }, { "1700000000000", T }, { "1700000000000.7", T }, { "0", 0 }, { "7", 7000 },
      { "00001700000000", T },
    }
    refuses {
      value.int64 "-1700000000", value.int64 "9007199254740993", value.int64 "18446744073709551615", "9007199254740993",
      "99999999999999999999", "", " ", ".", ".5", "5.", "1.2.3", "-1", "+1", "1e9", "0x10", "nan", "inf", " 1700000000",
      "1700000000 ", "1700000000\n", "1_000", "17000٣", ("1"):rep(33), "1700000000\0",
    }
  end)

  it("reads dates, with and without a time", function()
    reads {
      { "1970-01-01", 0 }, { "2023-11-14", T - 80000000 }, { "2023-11-14T22:13:20Z", T }, { "2023-11-14 22:13:20", T },
      { "2023-11-14t22:13:20z", T }, { "2023-11-14T22:13:20", T }, { "2023-11-14T22:13Z", T - 20000 },
      { "2023-11-14T22:13", T - 20000 }, { "2000-02-29T00:00:00Z", 951782400000 }, { "2024-02-29", 1709164800000 },
      { "2100-02-28T23:59:59Z", 4107542399000 }, { "9999-12-31T23:59:59.999Z", 253402300799999 }, { "2010-12-01 08:26:00", 1291191960000 },
    }
    refuses {
      "2023-02-29", "1900-02-29", "2100-02-29", "2023-04-31", "2023-00-10", "2023-13-10", "2023-01-00", "2023-01-32",
      "1969-12-31", "1969-12-31T23:59:59.999Z", "0000-01-01", "2023-1-1", "2023-11-1", "23-11-14", "2023/11/14", "20231114T221320Z",
      "2023-11-14Z", "2023-11-14 ", "2023-11-14T", "2023-11-14X22:13:20", "2023-W46-2", "2023-318", "2023-11-14T22", "2023-11-14T22:1",
      "2023-11-14T2213", "x023-11-14", "2023-1x-14", "2023-11-1x", "+2023-11-14", "-023-11-14", "2023-11-14\0",
    }
  end)

  it("keeps to what a clock shows", function()
    reads {
      { "2023-11-14T00:00:00Z", T - 80000000 }, { "2023-11-14T23:59:59Z", T + 6399000 },
      { "2016-12-31T23:59:60Z", 1483228799999 }, { "2016-12-31T23:59:60.5Z", 1483228799999 }, -- a leap second
    }
    refuses {
      "2023-11-14T24:00:00Z", "2023-11-14T22:60:00Z", "2023-11-14T22:13:61Z", "2023-11-14T-1:13:20Z", "2023-11-14T22:1x:20Z",
      "2023-11-14T22:13:2xZ", "2023-11-14T22:13:2", "2023-11-14T22:13:", "2023-11-14T22.13.20Z", "2023-11-14T22:13:20Zjunk",
    }
  end)

  it("reads fractions of up to nine digits, and drops what is below a ms", function()
    reads {
      { "2023-11-14T22:13:20.1Z", T + 100 }, { "2023-11-14T22:13:20.12Z", T + 120 }, { "2023-11-14T22:13:20.123Z", T + 123 },
      { "2023-11-14T22:13:20.1239Z", T + 123 }, { "2023-11-14T22:13:20.999999999Z", T + 999 }, { "2023-11-14T22:13:20.001", T + 1 },
      { "2023-11-14T22:13:20,5+00:00", T + 500 }, { "2023-11-14T22:13:20.000000001Z", T },
    }
    refuses { "2023-11-14T22:13:20.Z", "2023-11-14T22:13:20.", "2023-11-14T22:13:20.1234567890Z", "2023-11-14T22:13:20.1x",
      "2023-11-14T22:13.5Z" }
  end)

  it("reads zones", function()
    reads {
      { "2023-11-15T00:13:20+02:00", T }, { "2023-11-15T00:13:20+0200", T }, { "2023-11-15T00:13:20+02", T },
      { "2023-11-14T17:13:20-05:00", T }, { "2023-11-15T03:43:20.5+05:30", T + 500 }, { "2023-11-14T22:13:20-00:00", T },
      { "2023-11-15 03:43+0530", T - 20000 }, { "1969-12-31T23:00:00-02:00", 3600000 }, { "2023-11-15T22:12:20+23:59", T },
    }
    refuses { "2023-11-14T22:13:20+", "2023-11-14T22:13:20+2", "2023-11-14T22:13:20+02:", "2023-11-14T22:13:20+02:0",
      "2023-11-14T22:13:20+24:00", "2023-11-14T22:13:20+02:60", "2023-11-14T22:13:20+02:00Z", "2023-11-14T22:13:20 +02:00",
      "2023-11-14T22:13:20+02-00", "2023-11-14T22:13:20CET", "2023-11-14T22:13:20ZZ", "1970-01-01T00:30:00+01:00",
      "2023-11-14T22:13:20+xx", "2023-11-14T22:13:20+02xx", "2023-11-14T22:13:20+020" }
  end)

  it("reads msgpack timestamps", function()
    reads {
      { value.ext(-1, "\x65\x53\xf1\x00"), T }, { value.ext(-1, "\x1d\xcd\x65\x00\x65\x53\xf1\x00"), T + 125 },
      { value.ext(-1, "\x00\x00\x00\x01\x00\x00\x00\x01"), 4294967297000 },
      { value.ext(-1, "\x3b\x9a\xc9\xff\x00\x00\x00\x00\x65\x53\xf1\x00"), T + 999 },
    }
    refuses { value.ext(-1, ""), value.ext(-1, "\1\2\3"), value.ext(1, "\x65\x53\xf1\x00"),
      value.ext(-1, "\xff\xff\xff\xff\x65\x53\xf1\x00"), value.ext(-1, ("\xff"):rep(12)) }
  end)

  it("refuses all else, and runs no code of it", function()
    local hostile = { __tostring = function() error "reached" end, __index = function() error "reached" end, __metatable = "ext" }
    refuses { {}, true, false, print, value.null, setmetatable({}, hostile), { type = -1, bytes = "\x65\x53\xf1\x00" } }
    assert.is_nil(event_time.parse(nil))
  end)

  it("counts days as the C library does", function()
    for day = 0, 73050, 7 do -- to 2170
      local ms = day * 86400000
      assert.equal(ms, event_time.parse(os.date("!%Y-%m-%d", day * 86400)))
      assert.equal(ms + 45296000, event_time.parse(os.date("!%Y-%m-%dT%H:%M:%SZ", day * 86400 + 45296)))
    end
  end)
end)
