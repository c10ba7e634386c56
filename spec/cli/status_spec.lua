-- What `tidemill status` says of event time.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local program = require "spec.support.program"
local redis = require "spec.support.redis"

local WINDOWED = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "trips:*", key = "k", time = "ts", lateness = "2s",
  window = tidemill.window.tumbling("10s"),
  on_event = function(event, ctx) ctx.window.n = (ctx.window.n or 0) + 1 end,
  on_window = function(span, ctx) ctx.emit("counts", { start = span.start, n = ctx.window.n }) end,
}]]
local T = 1795362630000 -- 2026-11-22T15:50:30Z

describe("tidemill status", function()
  local server, e

  before_each(function()
    server = redis.start()
  end)
  after_each(function()
    if e then e:kill() end
    server:stop()
    e = nil
  end)

  local function start(rules)
    e = engine.start { server = server, rules = rules }
    e:wait_owner()
  end

  local function add(stream, n, ts)
    server:call("XADD", stream, n .. "-1", "data", engine.pack { k = "a", ts = ts })
  end

  local function shown()
    local code, out, err = program.run { "status", "--control", e.control }
    assert.same({ 0, "" }, { code, err })
    return out
  end

  it("tells no watermark of rules without event time", function()
    start { ["a.lua"] = engine.rule "" }
    local rule = e:status().rules[1]
    assert.same({ 0, nil, nil }, { rule.late, rule.watermark, rule.watermark_lag_ms })
    assert.matches("ROLLED BACK\n", shown())
  end)

  it("tells a watermark that follows the clock where nothing comes, and stays where it is for `idle`", function()
    start { ["fast.lua"] = (WINDOWED:gsub("tidemill.rule {", 'tidemill.rule { idle = "1ms",')),
      ["trips.lua"] = (WINDOWED:gsub("tidemill.rule {", 'tidemill.rule { idle = "1h",')) }
    local now = server:call("TIME")[1] * 1000
    add("trips:1", now, T)
    e:wait_position("trips:1", now .. "-1")
    e:wait_done()
    -- T + (TIME - now) - 2 s of lateness
    local first = e:wait_true(function()
      local rule = e:status().rules[1]
      return rule.watermark > T - 1500 and rule
    end)
    local second = e:wait_true(function()
      local rule = e:status().rules[1]
      return rule.watermark > first.watermark and rule
    end)
    for _, rule in ipairs { first, second } do
      assert.is_true(math.abs(rule.watermark + rule.watermark_lag_ms - now) < 20000)
      assert.is_true(math.abs(rule.watermark_lag_ms - (now - T + 2000)) < 20, rule.watermark_lag_ms)
    end
    assert.equal(T - 2000, e:status().rules[2].watermark)
  end)

  it("tells a rule's watermark, how far it is behind, and late events, also after a reload", function()
    start { ["plain.lua"] = engine.rule "", ["trips.lua"] = WINDOWED }
    local now = server:call("TIME")[1] * 1000
    add("trips:1", now, T)
    add("trips:1", now + 1, T + 30000)
    add("trips:1", now + 2, T + 5000) -- its window has closed
    e:wait_position("trips:1", now + 2 .. "-1")
    e:wait_done()
    local rule = e:status().rules[2]
    local after = server:call("TIME")
    assert.same({ "trips", 1, T + 28000 }, { rule.name, rule.late, rule.watermark })
    local lag = after[1] * 1000 + after[2] / 1000 - T - 28000
    assert.is_true(math.abs(rule.watermark_lag_ms - lag) < 5000, rule.watermark_lag_ms .. " " .. lag)
    assert.matches("\nRULE [^\n]- ROLLED BACK  LATE  WATERMARK +BEHIND MS\n", shown())
    assert.matches("\nplain [^\n]- no +0 +%- +%-\n", shown())
    local version = e:status().rules[1].version
    files.write_file(e.folder .. "/rules/plain.lua", engine.rule "ctx.state.n = 1")
    e:wait_true(function() return e:status().rules[1].version ~= version end)
    rule = e:status().rules[2]
    assert.same({ "trips", 1, T + 28000 }, { rule.name, rule.late, rule.watermark })
    assert.matches("\ntrips [^\n]- no +1 +2026%-11%-22T15:50:58.000Z  %-?%d+\n", shown())
  end)
end)
