local ffi = require "ffi"
local C = require("spec.support.header").load("src/base/nearest.h")

local function nearest(word, names)
  local n = ffi.new("struct nearest")
  C.nearest_init(n, word)
  for _, name in ipairs(names) do
    C.nearest_offer(n, name)
  end
  return n.name ~= nil and ffi.string(n.name) or nil
end

describe("nearest", function()
  it("counts slips of the finger", function()
    for _, case in ipairs({
      { "", "", 0 }, { "group", "group", 0 }, { "gruop", "group", 1 }, { "goup", "group", 1 },
      { "grroup", "group", 1 },
      { "log_level", "log-level", 0 }, { "Rules", "rules", 0 }, { "kitten", "sitting", 3 },
      { "", "abc", 3 },
    }) do
      assert.equal(case[3], C.nearest_slips(case[1], case[2]), case[1] .. " " .. case[2])
    end
  end)

  it("finds what was meant", function()
    local names = { "redis", "group", "rules", "log_level", "log_format", "limits", "batch_ms" }
    assert.equal("rules", nearest("rule", names))
    assert.equal("rules", nearest("ruels", names))
    assert.equal("log_level", nearest("loglevel", names))
    assert.equal("log_level", nearest("level", names))
    assert.equal("batch_ms", nearest("batch", names))
    assert.equal("redis", nearest("Redsi", names))
  end)

  it("does not guess wildly", function()
    assert.is_nil(nearest("frobnicate", { "redis", "group" }))
    assert.is_nil(nearest("x", { "ab", "redis" }))
    assert.is_nil(nearest(("x"):rep(500), { "redis" }))
  end)
end)
