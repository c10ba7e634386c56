-- link.lua: links under test, on a loop that the spec turns.
--
--   local driver = link.driver(url, { timeout_ms = 200 })
--   driver:open()
--   driver:turn_until(function() return driver.ups == 1 end)
--   driver:ask("GET", "k")
--
-- Everything that the link calls back is written down: `ups`, `downs` (code and text each),
-- `replies`.
local ffi = require "ffi"
local header = require "spec.support.header"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local C = header.load("src/redis/link.h", "src/redis/command.h")

local link = { C = C }
local Driver = {}
Driver.__index = Driver

local SLICE_MS = 3

local function loop_slice()
  local loop = C.loop_create()
  local stop = ffi.cast("loop_timer_call *", function() C.loop_stop(loop) end)
  return { handle = loop, stop = stop, timer = C.loop_timer_open(loop, stop, nil) }
end

-- Options: those of struct link_options, and `loop`, another driver's, to share it.
function link.driver(url, options)
  options = options or {}
  local self = setmetatable({ ups = 0, downs = {}, replies = {}, reply_calls = {}, hooks = {} },
    Driver)
  local parsed, why = ffi.new("struct redis_url"), ffi.new("struct error")
  assert(C.redis_url_parse(url, parsed, why) == 0, ffi.string(why.text))
  self.is_guest = options.loop ~= nil
  self.loop = options.loop and options.loop.loop or loop_slice()
  self.on_up = ffi.cast("void (*)(void *)", function()
    self.ups = self.ups + 1
    return self.hooks.up and self.hooks.up()
  end)
  self.on_down = ffi.cast("void (*)(void *, const struct error *)", function(_, reason)
    table.insert(self.downs, { code = tonumber(reason.code), text = ffi.string(reason.text) })
    return self.hooks.down and self.hooks.down()
  end)
  self.on_reply = ffi.cast("link_reply_call *", function(_, reply)
    local value, err = redis.to_lua(reply)
    if value == nil then
      value = err or false
    end
    table.insert(self.replies, value)
    self.last_reply = reply
    return self.hooks.reply and self.hooks.reply(value)
  end)
  local fields = ffi.new("struct link_options", { url = parsed, name = options.name or "spec" })
  for _, name in ipairs { "connect_timeout_ms", "timeout_ms", "backoff_least_ms",
    "backoff_most_ms" } do
    fields[name] = options[name] or 0
  end
  local callbacks = ffi.new("struct link_callbacks", { on_up = self.on_up, on_down = self.on_down })
  self.handle = C.link_create(self.loop.handle, fields, callbacks, nil)
  return self
end

function Driver:open()
  C.link_open(self.handle)
  return self
end

function Driver:is_up()
  return C.link_is_up(self.handle)
end

-- Turns the loop for a few milliseconds.
function Driver:turn(ms)
  C.loop_timer_start(self.loop.timer, ms or SLICE_MS)
  C.loop_run(self.loop.handle)
end
jit.off(Driver.turn, true)

-- Turns the loop until `fact` is true.
function Driver:turn_until(fact, deadline_s, what)
  local limit = wait.now() + (deadline_s or 5)
  while true do
    local value = fact()
    if value then
      return value
    end
    if wait.now() > limit then
      local down = self.downs[#self.downs]
      error(("waited %gs for %s; ups %d, downs %d, last: %s"):format(deadline_s or 5, what
        or "a fact", self.ups,
        #self.downs, down and down.text or "none"), 2)
    end
    self:turn()
  end
end

function Driver:turn_until_up(deadline_s)
  return self:turn_until(function() return self:is_up() end, deadline_s, "the link to be up")
end

-- Until `count` replies have come, in all.
function Driver:turn_until_replies(count, deadline_s)
  return self:turn_until(function() return #self.replies >= count end, deadline_s,
    count .. " replies")
end

function Driver:turn_until_down(count, deadline_s)
  return self:turn_until(function() return #self.downs >= (count or 1) end, deadline_s,
    "the link to be down")
end

-- Appends a command and expects its reply in `arena`, with `patience_ms`; not flushed.
function Driver:append(words, arena, patience_ms)
  local argv, lens, keep = redis.arguments(words, #words)
  C.command_append_argv(C.link_out(self.handle), #words, argv, lens)
  C.link_expect(self.handle, self.on_reply, nil, arena, patience_ms or 0)
  assert(#keep == #words)
end

function Driver:flush()
  C.link_flush(self.handle)
end

-- Sends one command.
function Driver:ask(...)
  self:append({ ... })
  self:flush()
end

-- Sends one command and returns its reply; an error reply is its text.
function Driver:call(...)
  local count = #self.replies + 1
  self:ask(...)
  self:turn_until_replies(count)
  return self.replies[count]
end

function Driver:waiting()
  return tonumber(C.link_waiting(self.handle))
end

-- May be called inside a hook; the driver still has to be closed.
function Driver:destroy_link()
  C.link_destroy(self.handle)
  self.handle = nil
end

function Driver:close()
  if self.handle then
    self:destroy_link()
  end
  if not self.is_guest then
    C.loop_timer_close(self.loop.timer)
    C.loop_destroy(self.loop.handle)
    self.loop.stop:free()
  end
  self.on_up:free()
  self.on_down:free()
  self.on_reply:free()
end

for _, name in ipairs { "turn", "turn_until", "open", "flush", "close", "destroy_link" } do
  jit.off(Driver[name], true)
end

return link
