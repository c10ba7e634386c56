-- spec/loyalty_spec.lua: the spec of rules/loyalty.lua, on the engine's own kernel, without Redis. Run it by `tidemill test`, or by
-- `busted spec` where the rock is installed.
local testing = require "tidemill.testing"

describe("loyalty", function()
  local kit

  before_each(function()
    kit = testing.load "rules/loyalty.lua"
  end)

  it("adds up what a customer spends", function()
    kit:event("purchase", { user_id = "u1", total = 30 })
    kit:event("purchase", { user_id = "u1", total = 12.5 })
    assert.same({ spent = 42.5 }, kit:state("loyalty", "u1"))
    assert.same({}, kit:effects())
  end)

  it("gives a discount for every 100 euros, and keeps the rest", function()
    kit:event("purchase", { user_id = "u1", total = 120 })
    assert.same({ { stream = "offers", fields = { user_id = "u1", percent = 5 } } }, kit:effects())
    assert.same({ spent = 20 }, kit:state("loyalty", "u1"))
  end)

  it("forgets who has not bought for 90 days", function()
    kit:event("purchase", { user_id = "u1", total = 99 })
    kit:advance "91d"
    kit:event("purchase", { user_id = "u1", total = 1 })
    assert.same({}, kit:effects())
    assert.same({ spent = 1 }, kit:state("loyalty", "u1"))
  end)

  it("refuses a purchase without a number", function()
    kit:event("purchase", { user_id = "u1", total = "much" })
    assert.equal("schema", kit:letters()[1].reason)
  end)
end)
