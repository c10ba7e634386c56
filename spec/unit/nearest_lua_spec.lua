require "spec.support.runtime"
local nearest = require "tidemill.nearest"

local FIELDS = { "name", "stream", "when", "key", "event", "state", "on_event", "on_error" }

describe("nearest, in Lua", function()
  it("finds what was meant", function()
    for given, meant in pairs {
      strem = "stream", streams = "stream", on_evnet = "on_event", keys = "key", evnt = "event", states = "state",
      on_eror = "on_error", nam = "name", key = "key", kye = "key",
    } do
      assert.equal(meant, nearest.name(given, FIELDS), given)
    end
  end)

  it("does not guess wildly", function()
    for _, given in ipairs { "frobnicate", "x", "", ("x"):rep(300) } do assert.is_nil(nearest.name(given, FIELDS), given) end
    assert.is_nil(nearest.name("ttl", {}))
  end)

  it("takes the first of equals", function()
    assert.equal("ab", nearest.name("ax", { "ab", "ac" }))
  end)

  it("ends a message with it, or with all that is known", function()
    assert.equal("; did you mean `stream`?", nearest.hint("steam", FIELDS))
    assert.equal("; known are ttl", nearest.hint("frobnicate", { "ttl" }))
    assert.equal("; known are a, b", nearest.hint("frobnicate", { "a", "b" }))
  end)
end)
