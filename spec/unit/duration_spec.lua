require "spec.support.runtime"
local duration = require "tidemill.duration"

describe("duration", function()
  it("reads numbers with a unit, and milliseconds", function()
    for text, ms in pairs {
      ["250ms"] = 250, ["10s"] = 10000, ["30m"] = 1800000, ["12h"] = 43200000, ["8d"] = 691200000, ["1.5h"] = 5400000,
      ["0s"] = 0, ["0.5ms"] = 0, ["1.001s"] = 1001, ["0.29s"] = 290, ["007s"] = 7000,
    } do
      assert.equal(ms, duration.parse(text), text)
    end
    assert.equal(1500, duration.parse(1500))
    assert.equal(1, duration.parse(1.9))
    assert.equal(0, duration.parse(0))
  end)

  it("says what a duration looks like", function()
    for _, bad in ipairs { "", "10", "s", "10 s", "10S", "-5s", "1e3s", "10sec", "1m30s", "x", "1..2s", " 1s" } do
      local ms, reason = duration.parse(bad)
      assert.is_nil(ms, bad)
      assert.matches("^'" .. bad:gsub("%p", "%%%0") .. "' is no duration: write ", reason)
    end
    for _, bad in ipairs { {}, true, print } do
      assert.matches("^a %a+ is no duration: write ", (select(2, duration.parse(bad))))
    end
    assert.matches("^a nil is no duration", (select(2, duration.parse(nil))))
    for _, bad in ipairs { -1, 0 / 0, math.huge, 2 ^ 53 } do
      assert.equal("a duration must be 0 ms or more", (select(2, duration.parse(bad))))
    end
    assert.equal("'999999999999d' is too long a duration", (select(2, duration.parse "999999999999d")))
  end)

  it("runs no code of the rule that it reads", function()
    local hostile = setmetatable({}, { __tostring = function() error "reached" end })
    assert.matches("^a table is no duration", (select(2, duration.parse(hostile))))
  end)
end)
