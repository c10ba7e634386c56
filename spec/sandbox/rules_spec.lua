-- Breaking out between rules: a rule that wants to reach another rule's values, or the engine's, through what they share: the
-- library tables, metatables, ctx, the event, what is packed, and Redis itself.
local attack = require "spec.support.attack"
local testing = require "tidemill.testing"
local rule, run, refused, plain, together = attack.rule, attack.run, attack.refused, attack.plain, attack.together

describe("breaking out between rules:", function()
  it("what one rule writes into a library, another does not see", function()
    local kit = together {
      a = [[
        for _, library in ipairs { string, math, table, bit, coroutine, require "tidemill" } do
          for name in pairs(library) do library[name] = function() return "broken" end end
          library.left = "here"
        end
        string.format = nil]],
      b = [[
        ctx.emit("out", { string.upper "x", math.floor(1.5), table.concat { "y" }, bit.band(3, 1), tostring(string.left),
          tostring(require "tidemill".left), coroutine.wrap(function() return "z" end)(), type(string.format),
          require("tidemill").duration "1s", ("m"):rep(2), math.random() ~= "broken" and 1 } and {
          text = string.upper "x" .. table.concat { "y" } .. coroutine.wrap(function() return "z" end)() .. ("m"):rep(2),
          number = math.floor(1.5) + bit.band(3, 1) + require("tidemill").duration "1s", left = string.left,
          left_too = require("tidemill").left, form = type(string.format), drawn = type(math.random()) })]],
    }
    local effects, letters = kit:effects(), kit:letters()
    assert.same({ text = "Xyzmm", number = 1002, form = "function", drawn = "number" }, effects[1].fields)
    assert.same(effects[1].fields, effects[2].fields)
    for _, letter in ipairs(letters) do assert.equal("a", letter.rule) end -- the second time it has broken its own ipairs' table
  end)

  it("the engine goes on when a rule has broken its own libraries", function()
    local kit = together { a = { [[ctx.state = { n = (ctx.state and ctx.state.n or 0) + 1 }
      ctx.emit("out", { n = ctx.state.n }) ctx.log.info("n", ctx.state.n)]],
      "for _, l in ipairs { string, math, table, bit, coroutine } do for k in pairs(l) do l[k] = error end end" } }
    assert.same({}, kit:letters())
    assert.equal(2, #kit:effects())
    assert.same({ n = 2 }, kit:state "a")
  end)

  it("each rule has a lib of its own", function()
    local kit = testing.load {
      ["a.lua"] = rule([[lib.n = lib.n + 1]], "local lib = require 'lib.part'"),
      ["b.lua"] = rule([[ctx.emit("out", { n = lib.n, same = lib == require "lib.part" })]], "local lib = require 'lib.part'"),
      ["lib/part.lua"] = "return { n = 0 }",
    }
    kit:event("s", {})
    kit:event("s", {})
    assert.same({ n = 0, same = true }, kit:effects()[2].fields)
  end)

  it("each rule has an event of its own", function()
    local kit = together {
      a = [[event.n = "changed" event.list[1] = "changed" setmetatable(event, { __index = error })]],
      b = [[ctx.emit("out", { n = event.n, first = event.list[1], other = type(event.other) })]],
    }
    assert.same({ n = 1, first = 1, other = "nil" }, kit:effects()[1].fields)
    assert.same({}, kit:letters())
  end)

  it("the string metatable is out of reach", function()
    assert.same({ kind = "string" }, (run [[ctx.emit("out", { kind = getmetatable "" })]]))
    for _, text in ipairs { "getmetatable('').__index = {}", "setmetatable('', {})", "rawset(getmetatable(''), '__index', 1)",
      "rawset('', 'x', 1)", "('').x = 1" } do
      local _, letter = run(text)
      assert.equal("error", letter.reason)
    end
    assert.equal("X", ("x"):upper())
  end)

  it("control: plain LuaJIT changes what all strings can do", function()
    assert.equal("mine", plain [[
      local methods = getmetatable("").__index
      methods.mine = function() return "mine" end
      local got = ("x"):mine()
      methods.mine = nil
      return got]])
  end)

  it("globals cannot be written, neither while loading nor later", function()
    for _, text in ipairs { "x = 1", "string = nil", "pcall = error", "require = nil", "function print() end" } do
      local _, letter = run(text)
      assert.matches("writing the global", letter.message, 1, true)
      assert.matches("writing the global", refused { ["rule.lua"] = rule("", text) }, 1, true)
    end
  end)

  local PROTECTED = { "ctx", "ctx.redis", "ctx.log" }
  local WRITES = { "t.emit = 1", "t.x = 1", "t[1] = 1", "rawset(t, 'emit', 1)", "rawset(t, 'state', 1)", "rawset(t, 'key', 'k')",
    "table.insert(t, 1)", "table.insert(t, 1, 1)", "table.move({ 1 }, 1, 1, 1, t)", "setmetatable(t, nil)", "setmetatable(t, {})",
    "getmetatable(t).__index = 1", "getmetatable(t).__metatable = nil", "require('tidemill').array(t)",
    "t[setmetatable({}, { __tostring = function() return 'state' end })] = 1" }
  for _, name in ipairs(PROTECTED) do
    it(name .. " cannot be written", function()
      for _, write in ipairs(WRITES) do
        local _, letter = run(("local t = %s  %s"):format(name, write))
        assert(letter, write .. " went through")
        assert.equal("error", letter.reason)
        local out = run(("local t = %s  pcall(function() %s end)  ctx.emit('out', { key = ctx.key })"):format(name, write))
        assert.same({ key = "" }, out)
      end
    end)

    it(name .. " has nothing to take away", function()
      local out = run(([[
        local t = %s
        table.sort(t) table.remove(t) table.remove(t, 1) table.concat(t)
        local names = {}
        for name in pairs(t) do names[#names + 1] = name end
        ctx.emit("out", { names = table.concat(names), kind = getmetatable(t) })]]):format(name))
      assert.same({ names = name == "ctx" and "key" or "", kind = name:match "%w+$" }, out)
    end)
  end

  it("control: a plain metatable with __newindex gives way to rawset, table.insert and table.move", function()
    assert.equal("written", plain [[
      local t = setmetatable({}, { __newindex = error })
      rawset(t, "x", "written")
      table.insert(t, 1)
      table.move({ 1, 2 }, 2, 2, 2, t)
      return #t == 2 and t.x]])
  end)

  it("arrays, ext, int64 and null keep what they are", function()
    local out, letter = run([[
      local t = require "tidemill"
      local function fails(f, ...) return not pcall(f, ...) end
      local int, list, ext = t.int64 "9007199254740993", t.array {}, t.ext(1, "x")
      ctx.emit("out", {
        int = int, null = { 1, t.null }, list = list, kinds = tostring(getmetatable(int)) .. tostring(getmetatable(t.null))
          .. getmetatable(list) .. getmetatable(ext),
        a = fails(function() int.value = 1 end), b = fails(function() int.is_unsigned = true end),
        c = fails(function() t.null.is_null = false end), d = fails(setmetatable, int, {}),
        e = fails(setmetatable, list, {}), f = fails(setmetatable, ext, {}), g = fails(function() return int[0] end),
        h = fails(function() return int + 1 end), i = fails(function() return t.null[0] end), j = fails(int), k = fails(t.null),
        l = fails(rawset, int, "value", 1), m = fails(table.insert, int, 1), n = fails(function() int.x = 1 end),
        o = fails(function() return int.x end), p = fails(next, int), q = fails(pairs, t.null) })]])
    assert.is_nil(letter)
    assert.equal("ffiffiarrayext", out.kinds)
    assert.equal("9007199254740993", tostring(out.int))
    for name in ("abcdefghijklmnopq"):gmatch "." do assert(out[name], name .. " went through") end
  end)

  it("a number of 64 bits from a literal or an int64 leads nowhere", function()
    for _, v in ipairs { "1LL", "1ULL", "1i", "require('tidemill').int64('9007199254740993').value" } do
      local out = run(([[
        local v = %s
        local ok = pcall(function() return v.x end) or pcall(function() v[0] = 1 end) or pcall(v)
          or pcall(setmetatable, v, {}) or pcall(ctx.emit, "no", { v = v })
        ctx.emit("out", { ok = ok })]]):format(v))
      assert.same({ ok = false }, out)
    end
  end)

  it("what a rule forges does not run while it is packed", function()
    for _, kind in ipairs { "array", "ext", "ctx", "redis", "ask", "unwind", "string" } do
      local _, letter = run(([[
        local ran = 0
        local function run() ran = ran + 1 ctx.emit("no", {}) return 5 end
        local forged = setmetatable({ x = 1 }, { __metatable = %q, __index = run, __len = run, __pairs = run, __ipairs = run,
          __tostring = run, __call = run, __eq = run, __lt = run, __concat = run, __gc = run, __mode = "kv" })
        pcall(ctx.emit, "maybe", { forged = forged })
        pcall(ctx.emit, "maybe", forged)
        error("ran " .. ran)]]):format(kind))
      assert.matches("ran 0", letter.message, 1, true)
      local found
      local all = testing.load { ["rule.lua"] = rule(([[
        local ran = 0
        local function run() ran = ran + 1 return 5 end
        ctx.state = setmetatable({ x = 1 }, { __metatable = %q, __index = run, __len = run, __pairs = run })
        ctx.emit("out", { ran = ran })]]):format(kind)) }
      all:event("s", {})
      for _, effect in ipairs(all:effects()) do found = effect.fields end
      assert.is_true(found == nil or found.ran == 0)
    end
  end)

  it("a forged ext is refused, whatever it holds", function()
    for _, fields in ipairs { "type = 1e9, bytes = ''", "type = 1, bytes = {}", "type = '1', bytes = ''", "bytes = ''", "type = 0 / 0" } do
      local _, letter = run(("ctx.emit('out', { e = setmetatable({ %s }, { __metatable = 'ext' }) })"):format(fields))
      assert.matches("an ext without type and bytes", letter.message, 1, true)
    end
  end)

  it("a ctx that was kept works neither in `when`, nor in `key`, nor while loading", function()
    for _, field in ipairs { "when", "key" } do
      for _, use in ipairs { "kept.emit('no', {})", "kept.redis.set('k', 1)", "kept.redis.get('k')", "kept.dead('x')",
        "kept.reason('x')", "kept.state = {}", "return kept.state", "return kept.id", "return kept.now" } do
        local kit = testing.load { ["rule.lua"] = rule("kept = ctx", "local kept",
          ("%s = function() if kept then %s end return 'k' end,"):format(field, (use:gsub("^return ", "local _ = ")))) }
        kit:event("s", {})
        assert.same({}, kit:letters())
        kit:event("s", {})
        assert.same({}, kit:effects())
        local letter = kit:letters()[1]
        assert(letter, field .. ": " .. use .. " went through")
        assert.matches("only valid during the call", letter.message, 1, true)
      end
    end
  end)
end)

describe("breaking out between rules, in the engine:", function()
  -- Ways through Redis to what is the engine's or another rule's: its state, the position, everyone's data, the connection.
  local WAYS = {
    "hgetall('tidemill:g:state:victim')", "hset('tidemill:g:state:victim', '', 'x')", "hset('tidemill:g:ctl', 'fence', 'x')",
    "del('other', 'tidemill:g:lease')", "mget('a', 'tidemill:g:lease')", "rename('tidemill:g:ctl', 'mine')",
    "copy('tidemill:g:ctl', 'mine')",
    "copy('mine', 'tidemill:g:ctl')", "dump('tidemill:g:state:victim')", "object('encoding', 'tidemill:g:ctl')",
    "sort('l', 'BY', 'nosort', 'GET', 'tidemill:g:c*l->fence')", "sort('l', 'GET', '*idemill:g:ctl->fence')", "sort('l', 'GET', '*')",
    "sort_ro('l', 'by', 'tidemill:*')", "sort('l', 'STORE', 'tidemill:g:ctl')", "bitop('NOT', 'tidemill:g:lease', 'x')",
    "zunionstore('mine', 2, 'z', 'tidemill:g:timers')", "xadd('tidemill:g:inbox', '*', 'a', 1)", "xrange('tidemill:g:dlq', '-', '+')",
    "georadius('g', 0, 0, 1, 'km', 'STORE', 'tidemill:g:ctl')", "eval('return 1', 0)", "evalsha('x', 0)", "script('flush')",
    "script_load('x')", "fcall('f', 0)", "multi()", "exec()", "watch('a')", "discard()", "select(1)", "auth('x')", "client('kill', 'x')",
    "config('get', '*')", "debug('sleep', 1)", "shutdown()", "flushall()", "flushdb()", "swapdb(0, 1)", "keys('*')", "monitor()",
    "subscribe('x')", "blpop('l', 0)", "wait(1, 0)", "acl('list')", "replicaof('a', 1)",
    "migrate('h', 1, 'k', 0, 1)", "xread('STREAMS', 's', 0)",
    "xgroup('DESTROY', 's', 'g')", "xsetid('s', '9-9')", "xtrim('s', 'MAXLEN', 0)", "del('s')", "hello(3)", "reset()", "quit()", "nosuch()",
    "get()", "set('k')", "get({})", "get(nil)",
  }

  it("no command of Redis leads to another rule's state, the position, or the connection", function()
    attack.with_engine(function(server, start)
      server:call("RPUSH", "l", "t", "1")
      local body = { "local through, n = {}, 0" }
      for n, way in ipairs(WAYS) do
        body[#body + 1] = ("local ok, got = pcall(function() return ctx.redis.%s end) if ok then through[#through + 1] = %q end")
          :format(way, way)
        if n % 150 == 0 then error "too many for one function" end
      end
      body[#body + 1] = "for _, s in ipairs { 'tidemill:g:inbox', 'tidemill:x', '' } do if pcall(ctx.emit, s, {}) then "
        .. "through[#through + 1] = s end end ctx.redis.set('through', 'through: ' .. table.concat(through, ' '))"
      local e = start({ ["victim.lua"] = rule "ctx.state.secret = 'mine' ctx.redis.set('seen', ctx.state.secret)",
        ["rule.lua"] = rule((table.concat(body, "\n"):gsub("local ok, got = (pcall%b()) if ok then (.-) end\n", "if %1 then %2 end\n"))) },
        { limits = { rule_ms = 1000, hard_ms = 3000 }, lease_ms = 9000 })
      server:call("XADD", "s", "1-1", "n", 1)
      e:wait_position("s", "1-1")
      e:wait_done()
      assert.same({}, e:letters())
      assert.equal("through: ", server:call("GET", "through"))
      assert.same({ secret = "mine" }, (e:state("victim", "")))
      e:stop()
    end)
  end)

  it("control: Redis itself answers most of them", function()
    attack.with_engine(function(server, start)
      local e = start { ["victim.lua"] = rule "ctx.state.secret = 'mine'" }
      server:call("XADD", "s", "1-1", "n", 1)
      e:wait_position("s", "1-1")
      server:call("RPUSH", "l", "t")
      assert.equal(e:ctl "fence", server:call("SORT", "l", "BY", "nosort", "GET", "tidemill:g:c*l->fence")[1])
      assert.equal(1, server:call("EVAL", "return redis.call('HLEN', 'tidemill:g:state:victim')", 0))
      assert.matches("mine", server:call("HGET", "tidemill:g:state:victim", ""), 1, true)
      e:stop()
    end)
  end)

  it("what looks like another command inside of an argument is text", function()
    attack.with_engine(function(server, start)
      local e = start { ["rule.lua"] = rule [[
        local text = "v\r\n*1\r\n$8\r\nFLUSHALL\r\n"
        ctx.redis.set("k" .. text, text)
        ctx.emit("out" .. text, { [text] = text })
        ctx.redis.get(text)
        ctx.redis.hset("h", text, text)]] }
      server:call("XADD", "s", "1-1", "n", 1)
      e:wait_position("s", "1-1")
      e:wait_done()
      local text = "v\r\n*1\r\n$8\r\nFLUSHALL\r\n"
      assert.same({ text, 1, text }, {
        server:call("GET", "k" .. text), server:call("XLEN", "out" .. text), server:call("HGET", "h", text),
      })
      assert.same({ [text] = text }, e:emitted("out" .. text)[1])
      e:stop()
    end)
  end)

  it("lets nothing catch ctx.dead, and no rule into another's libraries", function()
    attack.with_engine(function(server, start)
      local e = start {
        ["a.lua"] = rule [[
          string.upper, math.floor = nil, nil
          pcall(function() ctx.redis.x = 1 end)
          pcall(rawset, ctx, "emit", print)
          xpcall(function() coroutine.wrap(function() pcall(ctx.dead, "for good") end)() end, function() end)
          ctx.redis.rpush("no", 1)]],
        ["b.lua"] = rule "ctx.redis.rpush('b', string.upper 'x' .. math.floor(1.5) .. type(ctx.emit))",
      }
      for n = 1, 200 do server:call("XADD", "s", "1-" .. n, "n", n) end -- enough of them to be compiled
      e:wait_position("s", "1-200")
      e:wait_done()
      assert.same({ 0, 200, 200 }, { server:call("LLEN", "no"), server:call("LLEN", "b"), server:call("LLEN", "witness") })
      assert.equal("X1function", server:call("LINDEX", "b", 199))
      local letters = e:letters()
      assert.equal(200, #letters)
      for _, letter in ipairs(letters) do assert.same({ "a", "dead", "for good" }, { letter.rule, letter.reason, letter.message }) end
      e:stop()
    end)
  end)
end)
