-- Poisoned events: entries that others write, made to hurt the rules that read them.
local attack = require "spec.support.attack"
local engine = require "spec.support.engine"
local rule = attack.rule

describe("poisoned events:", function()
  it("makes letters of events that are nested too deep or have too many elements", function()
    attack.with_engine(function(server, start)
      local e = start({ ["rule.lua"] = rule "ctx.redis.rpush('rule', ctx.id)" }, { limits = { event_depth = 4, event_elements = 100 } })
      local function deep(n) return "\x81\xa1a" .. ("\x91"):rep(n - 1) .. "\x01" end
      local events = {
        deep(4), deep(5), deep(100000), "\x81\xa1a\xdc\x00\x10" .. ("\x01"):rep(16), "\x81\xa1a\xdc\x00\xc8" .. ("\x01"):rep(200),
        "\x81\xa1a\xdd\xff\xff\xff\xff", "\xdf\xff\xff\xff\xff", '{"a":' .. ("["):rep(100000), '{"a":[[[1]]]}', "\x80",
      }
      for n, bytes in ipairs(events) do server:call("XADD", "s", "1-" .. n, "data", bytes) end
      e:wait_position("s", "1-" .. #events)
      e:wait_done()
      local refused_ids = {}
      for _, letter in ipairs(e:letters()) do
        assert.same({ "decode", "" }, { letter.reason, letter.rule })
        refused_ids[#refused_ids + 1] = letter.id
      end
      assert.same({ "1-2", "1-3", "1-5", "1-6", "1-7", "1-8" }, refused_ids)
      assert.same({ "1-1", "1-4", "1-9", "1-10" }, server:call("LRANGE", "rule", 0, -1))
      e:stop()
    end)
  end)

  it("takes keys that are no texts: numbers of any kind, booleans, nil, lists, and keys that stand there twice", function()
    attack.with_engine(function(server, start)
      local e = start { ["rule.lua"] = rule [[
        local count = 0
        for k, v in pairs(event) do count = count + 1 end
        ctx.redis.rpush("rule", count .. ":" .. tostring(event[1]))]] }
      local nan, inf = "\xcb\x7f\xf8" .. ("\0"):rep(6), "\xcb\x7f\xf0" .. ("\0"):rep(6)
      local events = {
        "\x81\x01\x07", "\x82\x01\x07\xcb\x3f\xf0" .. ("\0"):rep(6) .. "\x08", "\x81" .. nan .. "\x01", "\x81" .. inf .. "\x01",
        "\x82\xc3\x01\xc2\x02", "\x81\xc0\x01", "\x81\x91\x01\x01", "\x81\x80\x01", "\x81\xff\x01", "\x82\xa1a\x01\xa1a\x02",
        "\x81\xcb\xff\xf8\xde\xad\xbe\xef\xde\xad\x01", "\x81\xcf" .. ("\xff"):rep(8) .. "\x01", "\x81\xd3\x80" .. ("\0"):rep(7) .. "\x01",
      }
      for n, bytes in ipairs(events) do server:call("XADD", "s", "1-" .. n, "data", bytes) end
      e:wait_position("s", "1-" .. #events)
      e:wait_done()
      assert.same({}, e:letters())
      assert.same({ "1:7", "1:8", "0:nil", "1:nil", "2:nil", "0:nil", "0:nil", "0:nil", "1:nil", "1:nil", "0:nil", "1:nil", "1:nil" },
        server:call("LRANGE", "rule", 0, -1))
      assert.equal(#events, server:call("LLEN", "witness"))
      e:stop()
    end)
  end)

  -- LuaJIT's quick hash of a string looks at its ends, its middle and its quarter; it takes a slower one once many fall together.
  it("strings that are alike where a quick hash looks are no slower than others", function()
    attack.with_engine(function(server, start)
      local strings = {}
      for n = 1, 15000 do
        strings[n] = "\xd9\x40" .. ("a"):rep(4) .. ("%06d"):format(n) .. ("a"):rep(12) .. ("a"):rep(42)
      end
      local e = start({ ["rule.lua"] = rule "ctx.redis.set('count', #event.list)" })
      server:call("XADD", "s", "1-1", "data", "\x81\xa4list\xdc" .. string.char(math.floor(#strings / 256), #strings % 256)
        .. table.concat(strings))
      e:wait_position("s", "1-1")
      e:wait_done()
      assert.same({}, e:letters())
      assert.equal("15000", server:call("GET", "count"))
      e:stop()
    end)
  end)

  it("events of thousands of shapes, each of which would be worth a constructor, are processed", function()
    attack.with_engine(function(server, start)
      local e = start { ["rule.lua"] = rule "ctx.redis.incr('count')" }
      engine.flood(server, "s", 4000, function(n)
        return { ["f" .. n] = n, ["g" .. n % 7] = { ["h" .. n] = "x" }, ["i" .. n] = n % 3 == 0 and { 1 } or "text" }
      end)
      e:wait_position("s", "1-4000", 20)
      e:wait_done()
      assert.same({}, e:letters())
      assert.equal("4000", server:call("GET", "count"))
      e:stop()
    end)
  end)

  it("field names that are code, or names of the engine's, are names", function()
    attack.with_engine(function(server, start)
      local names = { "__index", "__metatable", "__gc", "constructor", "n", "']] error() --", '"] = error("x") --', "\0", "\255", "\n", "",
        ("x"):rep(60000), "end return os.exit() --", "%s", "${x}", "t[0]", "local" }
      local e = start { ["rule.lua"] = rule [[
        local count = 0
        for name, v in pairs(event) do
          if v ~= "v" or type(name) ~= "string" then error(name) end
          count = count + 1
        end
        if getmetatable(event) ~= nil then error "a metatable" end
        ctx.redis.rpush("counts", count)]] }
      local all = {}
      for n, name in ipairs(names) do
        all[name] = "v"
        server:call("XADD", "s", "1-" .. n, "data", engine.pack { [name] = "v" })
      end
      server:call("XADD", "s", "2-1", "data", engine.pack(all))
      e:wait_position("s", "2-1")
      e:wait_done()
      assert.same({}, e:letters())
      local counts = server:call("LRANGE", "counts", 0, -1)
      assert.same({ #names + 1, tostring(#names) }, { #counts, counts[#counts] })
      e:stop()
    end)
  end)

  -- Numbers that all fall on one place of LuaJIT's hash part of up to 2^17 nodes: hashrot of (low, high * 2) run backwards.
  local function colliding(count)
    local bit, ffi = require "bit", require "ffi"
    local bits, list, c = ffi.new "union { uint32_t word[2]; double number; uint8_t byte[8]; }", {}, 0
    while #list < count do
      c = c + 1
      local low = bit.band(bit.bxor(c, bit.rol(c, 13)), 0x1ffff)
      for j = 0, 16383 do
        local high = bit.ror(bit.bor(low, bit.lshift(j, 17)), 19)
        bits.word[0] = bit.bxor(bit.tobit(c + bit.rol(high, 14)), high)
        bits.word[1] = bit.rshift(high, 1)
        if bit.band(high, 1) == 0 and bits.number - bits.number == 0 and #list < count then
          list[#list + 1] = { number = bits.number, bytes = "\xcb" .. ffi.string(bits.byte, 8):reverse() }
        end
      end
    end
    return list
  end

  it("control: colliding numbers as keys make a table slow", function()
    local keys = colliding(8000)
    local function fill(key_of)
      local t, began = {}, os.clock()
      for n = 1, #keys do t[key_of(n)] = n end
      return os.clock() - began, t
    end
    local slow = fill(function(n) return keys[n].number end)
    local fast = fill(function(n) return n + 0.5 end)
    assert.is_true(slow > 5 * fast, ("%.4f s and %.4f s"):format(slow, fast))
  end)

  it("stops what an event of colliding keys takes from each rule, and loses nothing behind it", function()
    attack.with_engine(function(server, start)
      local parts = {}
      for n, key in ipairs(colliding(16000)) do parts[n] = key.bytes .. "\x01" end
      local e = start({ ["rule.lua"] = rule "ctx.redis.rpush('rule', ctx.id)" }, { limits = { rule_ms = 20 } })
      server:call("XADD", "s", "1-1", "data", "\xde\x3e\x80" .. table.concat(parts))
      server:call("XADD", "s", "1-2", "n", 1)
      e:wait_position("s", "1-2", 30)
      e:wait_done()
      local seen = {}
      for _, letter in ipairs(e:letters()) do seen[#seen + 1] = letter.rule .. " " .. letter.reason .. " " .. letter.id end
      assert.same({ "rule time 1-1", "witness time 1-1" }, seen) -- each rule has its own copy of the event
      assert.same({ { "1-2" }, { "1-2" } }, { server:call("LRANGE", "rule", 0, -1), server:call("LRANGE", "witness", 0, -1) })
      e:stop()
    end)
  end)
end)
