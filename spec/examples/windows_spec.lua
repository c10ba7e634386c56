-- The windows and rings of examples/time: each rule's spec, as its author would write it.
require "spec.support.runtime"
local testing = require "tidemill.testing"

local NOON = 1767614400000 -- 2026-01-05T12:00:00Z

describe("examples/time/velocity.lua", function()
  local kit

  local function pay(minute, amount, order)
    kit:event("payment", { type = "payment", user_id = "u1", order_id = order or "o1", status = "paid", amount = amount,
      ts = NOON + minute * 60000 })
  end

  before_each(function()
    kit = testing.load("examples/time/velocity.lua", { start_ms = NOON + 4 * 3600000 })
  end)

  it("reports who spends more than 1,000 within an hour, once", function()
    pay(0, 500)
    pay(30, 500)
    assert.same({}, kit:effects())
    pay(59, 1, "o9")
    pay(59, 1)
    assert.same({ { stream = "alerts", fields = { user_id = "u1", spent = 1001, payments = 3, order_id = "o9" } } },
      kit:effects())
  end)

  it("reports more than ten payments", function()
    for minute = 1, 10 do pay(minute, 1) end
    assert.same({}, kit:effects())
    pay(11, 1)
    assert.equal(11, kit:effects()[1].fields.payments)
  end)

  it("looks back an hour, and reports once in that", function()
    pay(0, 900)
    pay(60, 900)
    assert.same({}, kit:effects())
    pay(61, 200)
    assert.equal(1100, kit:effects()[1].fields.spent)
    pay(119, 900)
    assert.same({}, kit:effects())
    pay(125, 100)
    pay(126, 1000)
    assert.equal(2000, kit:effects()[1].fields.spent)
  end)

  it("counts a payment that comes late when it was made", function()
    pay(90, 600)
    pay(20, 900) -- lies in none of the last sixty minutes as seen at 13:30
    pay(91, 100)
    assert.same({}, kit:effects())
    pay(45, 400)
    pay(92, 1)
    assert.equal(1101, kit:effects()[1].fields.spent)
  end)
end)

describe("examples/time/revenue.lua", function()
  local kit

  local function pay(minute, amount, country)
    kit:event("payment", { type = "payment", status = "paid", country = country or "DE", amount = amount,
      ts = NOON + minute * 60000 })
  end

  local function told()
    local lines = {}
    for n, effect in ipairs(kit:effects()) do
      local f = effect.fields
      lines[n] = effect.stream == "revenue"
        and ("%s %d: %d of %g, largest %g"):format(f.country, (f.start - NOON) / 3600000, f.payments, f.revenue, f.largest)
        or ("%s: %s %g"):format(effect.stream, f.country, f.amount)
    end
    return lines
  end

  before_each(function()
    kit = testing.load("examples/time/revenue.lua", { start_ms = NOON + 86400000 })
  end)

  it("tells an hour once, a minute after its end, before the event that shows it", function()
    pay(0, 0.1)
    pay(59.9, 0.2)
    pay(10, 5, "FR")
    pay(60.9, 7)
    assert.same({}, told())
    pay(61, 8)
    assert.same({ "DE 0: 2 of 0.3, largest 0.2", "FR 0: 1 of 5, largest 5" }, told())
    pay(121, 1)
    assert.same({ "DE 1: 2 of 15, largest 8" }, told())
  end)

  it("does not depend on the order, within a minute", function()
    for _, minute in ipairs { 59.5, 60.2, 59.3, 60.4, 59.45 } do pay(minute, 1) end
    pay(125, 1)
    assert.same({ "DE 0: 3 of 3, largest 1", "DE 1: 2 of 2, largest 1" }, told())
    assert.same({}, kit:letters())
  end)

  it("tells what comes later as a correction", function()
    pay(0, 10)
    pay(61, 10)
    assert.same({ "DE 0: 1 of 10, largest 10" }, told())
    pay(59.9, 3)
    assert.same({ "corrections: DE 3" }, told())
  end)

  it("closes the hour on a quiet stream", function()
    pay(30, 10)
    kit:advance "30m"
    assert.same({}, told())
    kit:advance "2m"
    assert.same({ "DE 0: 1 of 10, largest 10" }, told())
  end)
end)

describe("examples/time/visits.lua", function()
  local kit

  local function event(stream, kind, minute, category, total)
    kit:event(stream, { type = kind, user_id = "u1", category = category, total = total, ts = NOON + minute * 60000 })
  end

  local function view(minute, category) event("browse", "view", minute, category) end

  local function visits()
    local lines = {}
    for n, effect in ipairs(kit:effects()) do
      local f = effect.fields
      lines[n] = ("%d + %d: %d views, bought %g, %s to %s"):format((f.start - NOON) / 60000, f.minutes, f.views, f.bought, f.entry,
        f.exit)
    end
    return lines
  end

  before_each(function()
    kit = testing.load("examples/time/visits.lua", { start_ms = NOON + 86400000 })
  end)

  it("tells a visit half an hour after its last event", function()
    view(0, "toys")
    view(5, "books")
    event("cart", "add", 6, "books", 12)
    event("purchase", "purchase", 8, "books", 12)
    kit:advance "30m"
    assert.same({}, visits())
    kit:advance "5m" -- the slowest of the three streams was at 5 minutes, and a minute is waited for those that are late
    assert.same({ "0 + 8: 2 views, bought 12, toys to books" }, visits())
  end)

  it("makes two visits of what lies further apart", function()
    view(0, "toys")
    view(40, "books")
    kit:advance "2h"
    assert.same({ "0 + 0: 1 views, bought 0, toys to toys", "40 + 0: 1 views, bought 0, books to books" }, visits())
  end)

  it("joins two visits by an event between them that comes late", function()
    view(0, "toys")
    view(30.5, "books")
    view(29.8, "music")
    kit:advance "2h"
    assert.same({ "0 + 30: 3 views, bought 0, toys to books" }, visits())
  end)
end)
