require "spec.support.runtime"
local testing = require "tidemill.testing"

describe("examples/rules/fraud.lua", function()
  local kit

  local function decline(count)
    for n = 1, count do
      kit:event("payment", { status = "declined", user_id = "u1", order_id = "o" .. n, card = "000" .. n, amount = 5 })
    end
  end

  before_each(function()
    kit = testing.load "examples/rules/fraud.lua"
  end)

  it("alerts at the fourth declined payment within ten minutes", function()
    decline(3)
    assert.same({}, kit:effects())
    decline(1)
    local effects = kit:effects()
    assert.equal(1, #effects)
    assert.equal("alerts", effects[1].stream)
    assert.equal(4, effects[1].fields.tries)
    assert.same("4 declined payments", kit:reasons()[1].reason)
  end)

  it("begins anew after an alert", function()
    decline(7)
    assert.equal(1, #kit:effects())
    assert.equal(3, #kit:state("fraud", "u1").tries)
  end)

  it("forgets what is longer ago", function()
    decline(3)
    kit:advance "11m"
    decline(3)
    assert.same({}, kit:effects())
  end)

  it("does not mind payments that went through", function()
    kit:event("payment", { status = "paid", user_id = "u1", order_id = "o1", amount = 5 })
    assert.is_nil(kit:state("fraud", "u1"))
  end)
end)
