-- Memory and output: a rule that produces more than anybody can take. (What it may hold while it runs: limits_spec.lua.)
local attack = require "spec.support.attack"
local engine = require "spec.support.engine"
local rule, run = attack.rule, attack.run

describe("output:", function()
  -- Each is another way out of a rule.
  local FLOODS = {
    ["while true do ctx.emit('out', {}) end"] = "more than 1000 effects",
    ["for n = 1, 1e9 do ctx.emit('out' .. n, {}) end"] = "more than 1000 effects", -- a stream for each
    ["while true do ctx.redis.incr 'n' end"] = "more than 1000 effects",
    ["while true do ctx.emit('out', { s = ('x'):rep(1e5) }) end"] = "more than 1048576 bytes",
    ["ctx.emit('out', { s = ('x'):rep(2e6) })"] = "more than 1048576 bytes",
    ["ctx.redis.set('k', ('x'):rep(2e6))"] = "more than 1048576 bytes",
    ["ctx.redis.sadd('k', unpack({}, 1, 0)) "] = false, -- no argument at all
    ["local t = {} for n = 1, 20 do t = { t, t } end ctx.emit('out', { t = t })"] = "bytes", -- small here, a million tables there
    ["pcall(function() while true do ctx.emit('out', {}) end end)"] = "more than 1000 effects",
  }

  it("a flood of effects ends at the limit, with nothing of it done", function()
    for body, said in pairs(FLOODS) do
      local out, letter, kit = run("ctx.emit('out', {}) " .. body)
      assert(letter, body)
      assert.is_nil(out)
      if said then
        assert.equal("output", letter.reason, body)
        assert.matches(said, letter.message, 1, true)
      end
      kit:event("s", { n = 2 })
      assert.equal(1, #kit:letters())
    end
  end)

  it("tables in themselves, and what no codec knows, are refused", function()
    for _, body in ipairs {
      "local t = {} t.t = t ctx.emit('out', t)", "local t = {} t[1], t[2] = t, t ctx.emit('out', { t = t })",
      "local a, b = {}, {} a.b, b.a = b, a ctx.emit('out', a)", "ctx.emit('out', { print })",
      "ctx.emit('out', { x = coroutine.create(print) })",
      "ctx.emit('out', { x = 1LL })", "ctx.emit('out', { x = 1i })", "ctx.emit('out', { [{}] = 1 })", "ctx.emit('out', { [print] = 1 })",
      "local t = {} for _ = 1, 40 do t = { t } end ctx.emit('out', { t = t })", "ctx.emit('out', { 1, 2 })", "ctx.emit('out', 'text')",
      "ctx.emit(nil, {})", "ctx.emit('', {})", "ctx.emit({}, {})", "ctx.emit(0 / 0, {})",
    } do
      local out, letter = run(body)
      assert.is_nil(out)
      assert.equal("error", letter and letter.reason, body)
      assert.matches("rule.lua:6: ctx.emit", letter.message, 1, true)
    end
  end)

  it("states that cannot be kept are not, and the old one stays", function()
    for _, body in ipairs {
      "ctx.state = { f = print }", "ctx.state = { s = ('x'):rep(70000) }", "ctx.state.self = ctx.state", "ctx.state = 5",
      "ctx.state = 'text'",
      "ctx.state = { x = 1LL }", "ctx.state = ctx", "ctx.state = { [{}] = 1 }", "ctx.state = require('tidemill').null",
      "ctx.state = { co = coroutine.create(print) }", "for n = 1, 1e5 do ctx.state[n] = n end", "ctx.state = function() end",
    } do
      local kit = require("tidemill.testing").load { ["rule.lua"] = rule(body) }
      kit:set_state("rule", "", { old = true })
      kit:event("s", {})
      assert.equal("state", kit:letters()[1].reason, body)
      assert.same({ old = true }, kit:state "rule")
    end
  end)

  it("a log line, a letter's message and its traceback are cut", function()
    for _, body in ipairs { "print(X)", "ctx.log.info(X)", "ctx.log.error('a', X)",
      "print(setmetatable({}, { __tostring = function() return X end }))" } do
      local _, letter, kit = run((body:gsub("X", "('x'):rep(1e6)")))
      assert.is_nil(letter)
      assert.is_true(#kit:logs()[1].text < 5000)
    end
    for _, body in ipairs { "error(('x'):rep(1e6))", "ctx.dead(('x'):rep(1e6))",
      "local t = { [('x'):rep(1e6)] = 1 } t[('x'):rep(1e6)].y = 1",
      "ctx[('x'):rep(1e6)] = 1" } do
      local _, letter = run(body)
      assert.is_true(#letter.message < 5000 and #letter.traceback < 5000, body)
    end
  end)

  it("a flood of log lines ends as time, and leaves a log of a few lines", function()
    attack.with_engine(function(server, start)
      local e = start { ["rule.lua"] = rule "while true do print(('x'):rep(10000)) end" }
      for id = 1, 3 do server:call("XADD", "s", "1-" .. id, "n", id) end
      e:wait_position("s", "1-3")
      e:wait_done()
      local letters = e:letters()
      assert.equal(3, #letters)
      for _, letter in ipairs(letters) do assert.equal("time", letter.reason) end
      assert.is_true(#e:log() < 100000, #e:log())
      assert.equal(3, server:call("LLEN", "witness"))
      e:stop()
    end)
  end)

  it("a rule that feeds itself is served event by event, and so is the rule beside it", function()
    attack.with_engine(function(server, start)
      local e = start { ["rule.lua"] = rule "ctx.emit('s', { n = (event.n or 0) + 1 })" }
      server:call("XADD", "s", "*", "data", engine.pack { n = 1 })
      e:wait_true(function() return server:call("LLEN", "witness") > 100 end, 10, "a hundred events of its own")
      assert.same({}, e:letters())
      e:stop()
    end)
  end)
end)
