-- The joins of examples/time: each rule's spec, as its author would write it.
require "spec.support.runtime"
local testing = require "tidemill.testing"

local function fields_of(effects, stream)
  local list = {}
  for n, effect in ipairs(effects) do
    assert.equal(stream, effect.stream)
    list[n] = effect.fields
  end
  return list
end

describe("examples/time/deliveries.lua (lookup)", function()
  local kit
  local order = { type = "purchase", user_id = "u1", order_id = "o1", sku = "sku-1", qty = 2 }

  before_each(function()
    kit = testing.load "examples/time/deliveries.lua"
  end)

  it("adds the customer's address", function()
    kit:redis { ["HGETALL customer:u1"] = { name = "Ada", street = "Quay 1", city = "Emden" } }
    kit:event("purchase", order)
    assert.same({ { order_id = "o1", sku = "sku-1", qty = 2, name = "Ada", street = "Quay 1", city = "Emden" } },
      fields_of(kit:effects(), "deliveries"))
  end)

  it("keeps an order without an address until there is one", function()
    kit:redis { ["HGETALL customer:u1"] = {} }
    kit:event("purchase", order)
    assert.same({}, kit:effects())
    local letter = kit:letters()[1]
    assert.same({ "dead", "no address of u1", "u1" }, { letter.reason, letter.message, letter.key })
    kit:redis { ["HGETALL customer:u1"] = { street = "Quay 1" } }
    kit:event("purchase", order, { only = "deliveries" }) -- what tidemill dlq retry does
    assert.equal("Quay 1", kit:effects()[1].fields.street)
  end)
end)

describe("examples/time/attribution.lua (stream-table)", function()
  local kit

  local function look(sku, category)
    kit:event("browse", { type = "view", user_id = "u1", sku = sku, category = category })
  end

  local function buy(sku, category, user)
    kit:event("purchase", { type = "purchase", user_id = user or "u1", order_id = "o1", sku = sku, category = category })
  end

  before_each(function()
    kit = testing.load "examples/time/attribution.lua"
  end)

  it("joins a purchase with the latest look", function()
    look("a", "toys")
    look("b", "books")
    kit:advance "5m"
    buy("c", "books")
    assert.same({ { order_id = "o1", user_id = "u1", sku = "c", looked_at = "b", is_same = true, after_ms = 300001 } },
      fields_of(kit:effects(), "attributions"))
    buy("d", "toys") -- the row stays for the next one
    assert.same({ "b", false }, { kit:state("attribution", "u1").sku, kit:effects()[1].fields.is_same })
  end)

  it("knows nothing of other customers' looks, nor of those of the day before", function()
    look("a", "toys")
    buy("a", "toys", "u2")
    kit:advance "25h"
    buy("a", "toys")
    assert.same({}, kit:effects())
    assert.equal(2, #kit:reasons())
  end)
end)

describe("examples/time/shipping.lua (interval join)", function()
  local kit
  local NOON = 1767614400000

  local function line(minute, sku)
    kit:event("purchase", { type = "purchase", order_id = "o1", sku = sku or "a", qty = 1, ts = NOON + minute * 60000 })
  end

  local function payment(minute, status)
    kit:event("payment", { type = "payment", order_id = "o1", status = status or "paid", method = "card",
      ts = NOON + minute * 60000 })
  end

  local function shipped()
    local skus = {}
    for n, fields in ipairs(fields_of(kit:effects(), "shipments")) do skus[n] = fields.sku end
    return table.concat(skus, " ")
  end

  before_each(function()
    kit = testing.load("examples/time/shipping.lua", { start_ms = NOON + 86400000 })
  end)

  it("ships when the payment comes after the lines", function()
    line(0, "a")
    line(1, "b")
    payment(2, "declined")
    assert.same({}, kit:effects())
    payment(3)
    assert.equal("a b", shipped())
  end)

  it("ships when the payment comes before the lines", function()
    payment(0)
    line(1, "a")
    line(59, "b")
    assert.equal("a b", shipped())
  end)

  it("ships nothing that lies more than an hour apart", function()
    line(0, "a")
    line(30, "b")
    payment(61)
    assert.equal("b", shipped())
  end)

  it("forgets an hour after the latest event, and says what was not paid", function()
    line(30, "b")
    line(0, "a") -- out of order: does not bring the end forward
    kit:advance "59m"
    assert.same({}, kit:effects())
    kit:advance "2m"
    assert.same({ { order_id = "o1", sku = "b" }, { order_id = "o1", sku = "a" } }, fields_of(kit:effects(), "unpaid"))
    assert.is_nil(kit:state("shipping", "o1"))
    payment(0)
    assert.same({}, kit:effects())
  end)
end)

describe("examples/time/cart.lua (A without B within T)", function()
  local kit

  local function add(total, user)
    kit:event("cart", { type = "add", user_id = user or "u1", sku = "a", total = total })
  end

  before_each(function()
    kit = testing.load "examples/time/cart.lua"
  end)

  it("reminds half an hour after the last change, once", function()
    add(20)
    kit:advance "29m"
    add(35)
    kit:advance "29m"
    assert.same({}, kit:effects())
    kit:advance "2m"
    local reminders = fields_of(kit:effects(), "reminders")
    assert.same({ "u1", 35 }, { reminders[1].user_id, reminders[1].total })
    kit:advance "5h"
    assert.same({}, kit:effects())
  end)

  it("reminds nobody who bought, or emptied the cart", function()
    add(20)
    add(10, "u2")
    kit:event("purchase", { type = "purchase", user_id = "u1", sku = "a", total = 20 })
    kit:event("cart", { type = "remove", user_id = "u2", sku = "a", total = 0 })
    kit:advance "1h"
    assert.same({}, kit:effects())
    assert.is_nil(kit:state("cart", "u1"))
  end)

  it("reminds before whoever comes back after half an hour", function()
    add(20)
    kit:advance "31m"
    add(50)
    local reminders = fields_of(kit:effects(), "reminders")
    assert.same({ 1, 20 }, { #reminders, reminders[1].total })
  end)
end)

describe("examples/time/depot.lua (A without B within T, by event time)", function()
  local kit

  local function parcel(kind, id, at)
    kit:event("parcel", { type = kind, parcel_id = id, at = at, courier = kind == "handed_over" and "c7" or nil })
  end

  before_each(function()
    kit = testing.load("examples/time/depot.lua", { start_ms = 1767776400000 }) -- 2026-01-07T09:00:00Z
  end)

  it("reports what reaches no depot within a day of the scanners' time", function()
    parcel("handed_over", "p1", "2026-01-05T09:30:00+01:00")
    parcel("handed_over", "p2", "2026-01-05T09:40:00+01:00")
    parcel("scanned", "p2", "2026-01-05T17:00:00+01:00")
    parcel("handed_over", "p3", "2026-01-05T17:05:00+01:00")
    parcel("delivered", "p3", "2026-01-06T09:39:59+01:00") -- not looked at, but a sign of the time
    assert.same({}, kit:effects())
    parcel("scanned", "p3", "2026-01-06T09:40:00+01:00") -- a day and the lateness after p1
    assert.same({ { parcel_id = "p1", courier = "c7", handed_over = "2026-01-05T09:30:00+01:00" } },
      fields_of(kit:effects(), "missing"))
  end)

  it("reports on a quiet stream, too", function()
    parcel("handed_over", "p1", "2026-01-05T09:30:00+01:00")
    kit:advance "24h"
    assert.same({}, kit:effects()) -- still waiting for those that are late
    kit:advance "11m"
    assert.equal("p1", kit:effects()[1].fields.parcel_id)
  end)

  it("takes scans that come before the hand-over", function()
    parcel("scanned", "p1", "2026-01-05T09:50:00+01:00")
    parcel("handed_over", "p1", "2026-01-05T09:30:00+01:00")
    kit:advance "2d"
    assert.same({}, kit:effects())
  end)

  it("does not guess at times it cannot read", function()
    parcel("handed_over", "p1", "yesterday")
    assert.equal("time", kit:letters()[1].reason)
  end)
end)
