-- Rules that keep failing are told of once, when it begins and when it is over; and rules that feed themselves.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local program = require "spec.support.program"
local redis = require "spec.support.redis"

describe("a rule that keeps failing", function()
  local server, e, last

  before_each(function() server, last = redis.start(), 0 end)

  after_each(function() e = engine.clear(server, e) end)

  -- The rule fails on events with `fails`.
  local RULE = engine.rule "if event.fails then error('no luck with ' .. event.n, 0) end"

  local function start(failing, rules) e = engine.start { server = server, rules = rules or { ["a.lua"] = RULE },
    settings = { failing = failing } } end

  -- `count` more events, of which those that `fails(n)` tells fail, n from 1 on; waits until they are done.
  local function feed(count, fails)
    local commands = {}
    for n = 1, count do
      commands[n] = { "XADD", "orders", "1-" .. last + n, "data", engine.pack { n = n, fails = fails(n) or nil } }
    end
    server:pipeline(commands)
    last = last + count
    e:wait_position("orders", "1-" .. last, 20)
  end

  local function all() return true end
  local function none() return false end

  local function told()
    local kinds = {}
    for _, line in ipairs(e:logged()) do
      if line.kind == "rule_failing" or line.kind == "rule_recovered" then kinds[#kinds + 1] = line.kind end
    end
    return kinds
  end

  local function rule(number)
    local r = e:status().rules[number or 1]
    return { events = r.events, failed = r.failed, skipped = r.skipped, failing = r.failing, fed_back = r.fed_back }
  end

  it("so many times in a row is reported once, and once more when it has recovered", function()
    start { in_a_row = 10 }
    feed(9, all)
    feed(1, none)
    feed(9, all)
    assert.same({}, told())
    assert.same({ events = 19, failed = 18, skipped = 0, failing = false, fed_back = 0 }, rule())
    feed(50, all)
    assert.same({ "rule_failing" }, told())
    local line = e:logged "rule_failing"[1]
    assert.same({ "error", "a", "error", "no luck with 1", e:status().rules[1].version },
      { line.level, line.rule, line.reason, line.cause, line.version })
    assert.same({ events = 69, failed = 68, skipped = 0, failing = true, fed_back = 0 }, rule())
    feed(2, none)
    assert.same({ "rule_failing", "rule_recovered" }, told())
    assert.is_false(rule().failing)
    feed(10, all)
    assert.same({ "rule_failing", "rule_recovered", "rule_failing" }, told())
    e:stop()
  end)

  it("on too many of its last 1,000 events is reported, too; the reason of a limit and on_error make no difference", function()
    start({ percent = 20 }, { ["a.lua"] = engine.rule([[if event.fails then ctx.state = 5 end]],
      'stream = "orders", on_error = "skip"') })
    feed(1000, function(n) return n % 5 == 0 end) -- a fifth, not more
    assert.same({}, told())
    feed(10, function(n) return n % 2 == 0 end)
    assert.same({ "rule_failing" }, told())
    assert.equal("state", e:logged "rule_failing"[1].reason)
    assert.same({ events = 1010, failed = 205, skipped = 205, failing = true, fed_back = 0 }, rule())
    feed(400, none) -- half of them are still among the last thousand
    assert.is_true(rule().failing)
    feed(400, none)
    assert.same({ "rule_failing", "rule_recovered" }, told())
    assert.same({}, e:letters())
    e:stop()
  end)

  it("starts anew with its next version", function()
    start { in_a_row = 10 }
    feed(20, all)
    assert.is_true(rule().failing)
    files.write_file(e.folder .. "/rules/a.lua", RULE .. "-- another version\n")
    e.process:signal "HUP"
    e:wait_true(function() return not rule().failing end, 10, "the other version")
    assert.equal(20, rule().events)
    feed(9, all)
    assert.is_false(rule().failing)
    feed(1, all)
    assert.is_true(rule().failing)
    e:stop()
  end)

  it("shows in the table of `tidemill status`, as does what a rule feeds itself", function()
    start({ in_a_row = 1 }, { ["a.lua"] = engine.rule "error 'never'", ["b.lua"] = engine.rule [[
      if tonumber(event.n) < 3 then ctx.emit("orders", { n = event.n + 1 }) end
      if event.n == 2 then ctx.redis.xadd("orders", "*", "n", "9") end
      ctx.emit("elsewhere", {})]] })
    server:call("XADD", "orders", "1-1", "data", engine.pack { n = 1, fails = true })
    e:wait_true(function() return server:call("XLEN", "elsewhere") == 4 end, 10, "the events that came back")
    local b = e:status().rules[2]
    assert.same({ "b", 3, 4, 0 }, { b.name, b.fed_back, b.events, b.failed })
    local lines = e:logged "rule_feeds_itself"
    assert.same({ 1, "warn", "b", "orders" }, { #lines, lines[1].level, lines[1].rule, lines[1].stream })
    local _, shown = program.run { "status", "--control", e.control }
    local head = shown:match "\n(RULE[^\n]*)\n"
    assert.same("RULE VERSION FILE EVENTS FAILED SKIPPED FAILING FED BACK ROLLED BACK", (head:gsub("%s+", " ")))
    assert.matches("\na +%x+ +a.lua +4 +4 +0 +yes +0 +no", shown)
    assert.matches("\nb +%x+ +b.lua +4 +0 +0 +no +3 +no", shown)
    e:stop()
  end)
end)
