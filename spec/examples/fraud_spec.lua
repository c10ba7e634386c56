require "spec.support.runtime"
local testing = require "tidemill.testing"

local function pay(card, status, changes)
  local event = { type = "payment", user_id = "u1", order_id = "o1", card = card, status = status or "paid", amount = 20,
    method = "card", country = "DE", currency = "EUR" }
  for name, v in pairs(changes or {}) do event[name] = v end
  return event
end

describe("examples/rules/fraud.lua", function()
  local kit

  before_each(function()
    kit = testing.load "examples/rules/fraud.lua"
  end)

  it("reports who pays with more than three cards, once", function()
    kit:events("payment", { pay "1111", pay "2222", pay "3333", pay "1111" })
    assert.same({}, kit:effects())
    kit:events("payment", { pay("4444", "paid", { order_id = "o9" }), pay "5555" })
    assert.same({ { stream = "alerts", fields = { user_id = "u1", cards = 4, declined = 0, order_id = "o9" } } }, kit:effects())
  end)

  it("reports who is declined five times", function()
    for _ = 1, 4 do kit:event("payment", pay("1111", "declined")) end
    assert.same({}, kit:effects())
    kit:event("payment", pay("1111", "declined"))
    assert.same({ user_id = "u1", cards = 1, declined = 5, order_id = "o1" }, kit:effects()[1].fields)
  end)

  it("looks no further back than ten minutes", function()
    kit:events("payment", { pay "1111", pay "2222" })
    kit:advance "9m"
    kit:event("payment", pay "3333")
    kit:advance "2m"
    kit:event("payment", pay "4444")
    assert.same({}, kit:effects())
    assert.equal(2, #kit:state("fraud", "u1").payments)
  end)

  it("does not mix customers up, and looks at cards only", function()
    kit:events("payment", {
      pay "1111", pay "2222", pay "3333", pay("4444", "paid", { user_id = "u2" }), pay("5555", "paid", { method = "paypal" }),
    })
    assert.same({}, kit:effects())
  end)

  it("sends what cannot be to the dead letters", function()
    kit:event("payment", pay("1111", "paid", { amount = -3 }))
    local letter = kit:letters()[1]
    assert.same({ "dead", "an amount of -3", "u1" }, { letter.reason, letter.message, letter.key })
    assert.is_nil(kit:state("fraud", "u1"))
  end)
end)
