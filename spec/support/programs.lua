-- programs.lua: random rules, random events and a small Redis, for specs that compare runs of the same program.
--
-- A program is a table of rule texts by file name and a list of events. Whatever it does, it must come to the same whether the
-- events are run one by one or in batches of any size: that is what the kernel promises.
local programs = {}

-- ── a small Redis ───────────────────────────────────────────────────────────────────────────────────────────────────────

-- Values by key: strings, lists and numbers of stream entries. Writes that Redis would refuse do nothing.
function programs.redis(refusal)
  local data, redis = {}, {}
  local writes = {
    SET = function(key, v) data[key] = v end,
    DEL = function(key) data[key] = nil end,
    INCRBY = function(key, n)
      local v = data[key] or "0"
      if type(v) == "string" and tonumber(v) and tonumber(n) then data[key] = ("%d"):format(tonumber(v) + tonumber(n)) end
    end,
    APPEND = function(key, text)
      local v = data[key] or ""
      if type(v) == "string" then data[key] = v .. text end
    end,
    RPUSH = function(key, v)
      local list = data[key] or {}
      if type(list) == "table" then
        list[#list + 1] = v
        data[key] = list
      end
    end,
    XADD = function(key) data[key] = (data[key] or 0) + 1 end,
    PUBLISH = function() end,
  }
  local function text_at(key)
    local v = data[key]
    if v ~= nil and type(v) ~= "string" then return refusal "WRONGTYPE Operation against a key" end
    return v
  end
  local reads = {
    GET = text_at,
    STRLEN = function(key)
      local v = text_at(key)
      return type(v) == "table" and v or #(v or "")
    end,
    XLEN = function(key) return type(data[key]) == "number" and data[key] or 0 end,
    LRANGE = function(key)
      local copy = {}
      for n, v in ipairs(type(data[key]) == "table" and data[key] or {}) do copy[n] = v end
      return copy
    end,
    DBSIZE = function()
      local count = 0
      for _ in pairs(data) do count = count + 1 end
      return count
    end,
    EXISTS = function(...)
      local count = 0
      for n = 1, select("#", ...) do count = count + (data[(select(n, ...))] ~= nil and 1 or 0) end
      return count
    end,
  }
  redis.data = data
  function redis.write(argv) writes[argv[1]](unpack(argv, 2)) end
  function redis.read(argv)
    local answer = reads[argv[1]](unpack(argv, 2))
    return answer
  end
  return redis
end

-- ── random rules ────────────────────────────────────────────────────────────────────────────────────────────────────────

local KEYS = { '"k" .. tostring(event.b)', '"k1"', '"k" .. ctx.key', '"k" .. (event.n % 3)' }

-- One statement each; `v` is a local number that goes from one to the next.
local STATEMENTS = {
  function() return 'ctx.state.x = (ctx.state.x or 0) + v' end,
  function() return 'ctx.state.list = ctx.state.list or {} table.insert(ctx.state.list, v % 10)' end,
  function() return 'ctx.state = nil' end,
  function() return 'ctx.state = { y = v, id = ctx.id }' end,
  function() return 'ctx.state[event.b] = (ctx.state[event.b] or 0) + 1' end,
  function(draw) return ('ctx.emit("out%d", { v = v, x = ctx.state.x, key = ctx.key, id = ctx.id })'):format(draw(2)) end,
  function(draw) return ('ctx.emit("out%d", { n = event.n, now = ctx.now })'):format(draw(2)) end,
  function(draw, key) return ('v = v + (tonumber(ctx.redis.get(%s)) or 1)'):format(key) end,
  function(draw, key) return ('v = v + (tonumber(ctx.redis.get(%s)) or 1)'):format(key) end,
  function(draw, key) return ('v = v + ctx.redis.strlen("t" .. %s)'):format(key) end,
  function(draw) return ('v = v + ctx.redis.xlen("out%d")'):format(draw(2)) end,
  function() return 'v = v + ctx.redis.dbsize()' end,
  function(draw, key) return ('v = v + ctx.redis.exists(%s, "k2")'):format(key) end,
  function(draw, key) return ('v = v + #ctx.redis.lrange("l" .. %s, 0, -1)'):format(key) end,
  function(draw, key) return ('ctx.redis.incrby(%s, v %% 7)'):format(key) end,
  function(draw, key) return ('ctx.redis.incrby(%s, event.n)'):format(key) end,
  function(draw, key) return ('ctx.redis.append("t" .. %s, "x")'):format(key) end,
  function(draw, key) return ('ctx.redis.rpush("l" .. %s, v)'):format(key) end,
  function(draw, key) return ('ctx.redis.del(%s)'):format(key) end,
  function() return 'ctx.redis.publish("news", v)' end,
  function() return 'v = v + math.floor(math.random() * 100)' end,
  function() return 'event.n = event.n + 1' end,
  function() return 'v = v + event.n' end,
  function() return 'if type(event.list) == "table" then event.list[#event.list + 1] = v v = v + #event.list end' end,
  function() return 'if v % 5 == 0 then error("five") end' end,
  function() return 'if v % 7 == 0 then ctx.dead("seven") end' end,
  function() return 'if v % 4 == 0 then pcall(ctx.dead, "four") end' end,
  function() return 'if v % 6 == 0 then error({ six = true }) end' end,
  function() return 'if v % 9 == 0 then ctx.state = 9 end' end,
  function() return 'if v % 11 == 0 then ctx.state.f = print end' end,
  function(draw, key) return ('pcall(function() v = v + #ctx.redis.get("l" .. %s) end)'):format(key) end,
  function(draw, key)
    return ('for w in coroutine.wrap(function() coroutine.yield(tonumber(ctx.redis.get(%s)) or 2) '
      .. 'coroutine.yield(ctx.redis.xlen("out1")) end) do v = v + w end'):format(key)
  end,
  function() return 'ctx.log.info("v", v)' end,
  function() return 'ctx.reason("v is " .. v)' end,
  function() return 'if v % 3 == 0 then return end' end,
  function() return 'helper(v)' end,
}

local function handler(draw)
  local lines = { "local v = event.n" }
  for _ = 1, 1 + draw(6) do
    lines[#lines + 1] = "    " .. STATEMENTS[draw(#STATEMENTS)](draw, KEYS[draw(#KEYS)])
    if lines[#lines]:find "then return end" then lines[#lines] = "    if v % 3 == 0 then return end" end
  end
  return table.concat(lines, "\n")
end

local function one_of(draw, list) return list[draw(#list)] end

-- The text of a rule file.
function programs.rule(draw)
  local parts = {
    'stream = ' .. one_of(draw, { '"a"', '{ "a", "b" }', '"b"', '"[ab]"' }),
    'key = ' .. one_of(draw, { '"a"', '"b"', 'nil', 'function(e) return e.a end', '"a"' }),
    'when = ' .. one_of(draw, { 'nil', '{ t = "x" }', '{ t = { "x", "y" }, n = { 1, 2, 3, 4, 5, 6 } }', 'nil',
      'function(e) return math.random() < 0.7 end', 'function(e) e.n = e.n + 1 return e.n % 4 ~= 0 end' }),
    'event = ' .. one_of(draw, { 'nil', 'nil', '{ n = "integer", a = "any?" }', '{ n = "number", b = "string?" }' }),
    'state = ' .. one_of(draw, { 'nil', '{ ttl = "20ms" }', '{ ttl = "3ms" }' }),
    'on_error = ' .. one_of(draw, { '"dead"', '"dead"', '"dead"', '"skip"' }),
  }
  return ([[
local tidemill = require "tidemill"
local function helper(v)
  if v %% 13 == 0 then error("thirteen") end
end
return tidemill.rule {
  %s,
  on_event = function(event, ctx)
    %s
  end,
}
]]):format(table.concat(parts, ",\n  "), handler(draw))
end

-- One event: { stream, fields, options }. IDs rise, now and then by a lot.
function programs.event(draw, at)
  local fields = {
    n = draw(30), a = one_of(draw, { 1, 2, 3, "1", 1.5, true }), b = one_of(draw, { "p", "q", 7 }),
    t = one_of(draw, { "x", "x", "y", "z" }),
  }
  if draw(12) == 1 then fields.n = one_of(draw, { "no number", "12", false }) end
  if draw(8) == 1 then fields.a = nil end
  if draw(5) == 1 then fields.list = { 1, 2, { 3 } } end
  if draw(9) == 1 then fields.deep = { deeper = { x = draw(3) } } end
  return { one_of(draw, { "a", "a", "b" }), fields, { id = at, codec = draw(15) == 1 and not fields.list
    and not fields.deep and "fields" or nil } }
end

---A program: rules by file name, and events.
function programs.program(draw)
  local rules, events, at = {}, {}, 1000
  for n = 1, draw(4) do rules[("r%d.lua"):format(n)] = programs.rule(draw) end
  rules["reader.lua"] = rules["reader.lua"] or
    'return require("tidemill").rule { stream = { "a", "b" }, when = { t = "none" }, on_event = function() end }'
  for n = 1, 5 + draw(60) do
    at = at + (draw(6) == 1 and draw(30) or 1)
    events[n] = programs.event(draw, at)
  end
  return { rules = rules, events = events }
end

-- A program as text, to be read when a spec fails.
function programs.show(program)
  local parts = {}
  for name, text in pairs(program.rules) do parts[#parts + 1] = "-- " .. name .. "\n" .. text end
  return table.concat(parts, "\n")
end

return programs
