-- tidemill.lua: what `require "tidemill"` gives a rule.
local duration = require "tidemill.duration"
local value = require "tidemill.value"

---@class tidemill
local tidemill = {}

---@class tidemill.rule.definition
---@field stream string|string[]             name, list of names, or a glob such as "orders:*"
---@field name? string                       default: the file name without .lua; [A-Za-z0-9_-]{1,64}
---@field when? table|fun(event: table): boolean   fields that must equal a value or one of a list; or a function
---@field key? string|fun(event: table): string|number   events of one key run in order and share one state
---@field event? table<string, string>       schema: string number integer boolean table any, with ? when optional
---@field state? tidemill.rule.state
---@field limits? tidemill.rule.limits
---@field on_event fun(event: table, ctx: tidemill.ctx)
---@field on_error? "dead"|"skip"|"stop"     what happens to an event on which the rule fails; default "dead"

---@class tidemill.rule.state
---@field ttl? string|number   how long a key's state is kept after its last change; default: for ever
---@field version? number      of what the state looks like; default 1. Above 1, `migrate` leads there
---@field migrate? fun(old: table, from: number): table|nil   an earlier version's state as this one reads it; nil: no state

---What the rule may spend on one event; never more than the settings allow.
---@class tidemill.rule.limits
---@field rule_ms? number      running time; waiting for Redis is free
---@field effects? number      how many
---@field effect_kb? number    their bytes
---@field state_kb? number     the packed state of one key

---@class tidemill.ctx
---@field state table|nil        kept per key; what is left in it after the call is stored; nil clears it
---@field key string             the event's key
---@field id string              entry ID, "1700000000000-0"
---@field stream string          the stream that the event came from
---@field now number             ms since 1970: the event's time, never the wall clock
---@field emit fun(stream: string, fields: table)   one more entry on a stream
---@field redis table<string, fun(...): any>        ctx.redis.hget(key, field): reads answer, writes are effects and return nothing
---@field log { debug: fun(...), info: fun(...), warn: fun(...), error: fun(...) }
---@field reason fun(text: string)                  kept with the decision
---@field dead fun(message: string)                 this event to the dead letters; does not return

---Declares a rule; a rule file returns it.
---@param definition tidemill.rule.definition
function tidemill.rule(definition)
  if type(definition) ~= "table" then error("tidemill.rule: expects a table", 2) end
  return definition
end

tidemill.null = value.null
tidemill.int64 = value.int64
tidemill.array = value.array
tidemill.ext = value.ext

---True for `tidemill.null`, what nil inside an array is.
tidemill.is_null = value.is_null
---True for a `tidemill.int64`.
tidemill.is_int64 = value.is_int64

---The milliseconds of a duration such as "30m".
---@param v string|number
---@return number ms
function tidemill.duration(v)
  local ms, reason = duration.parse(v)
  if not ms then error(reason, 2) end
  return ms
end

return tidemill
