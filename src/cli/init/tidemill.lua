-- tidemill.lua: settings of this project: data, no program. Flags win over the environment, the environment over this file.
-- Each line may be left out; `tidemill run --help` lists all that there is, and `tidemill check` finds what is mistyped.
return {
  group = "tidemill", -- the name of this deployment; its position and state in Redis go by it
  rules = "rules",    -- the folder of the rules, seen from this file
  from = "start",     -- where to begin on a stream that the group has never read: start, end or an entry ID

  -- The Redis to work on; $REDIS_URL and --redis win.
  -- redis = "redis://127.0.0.1:6379/0",

  -- How events are written in streams. "auto", the default, knows msgpack maps, JSON objects and plain fields.
  -- streams = { purchase = { codec = "json" } },

  -- How long streams that rules write to may get, and what is in them; default: one msgpack map an entry, never trimmed.
  outputs = { offers = { maxlen = 100000 } },

  -- What a rule may spend on one event.
  -- limits = { rule_ms = 50, effects = 1000, state_kb = 64 },
}
