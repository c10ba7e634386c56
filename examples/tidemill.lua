-- tidemill.lua: settings for the examples:  tidemill run --config examples/tidemill.lua
-- Flags win over the environment, and the environment over this file. Each line may be left out.
return {
  redis = "redis://127.0.0.1:6379",
  group = "shop",
  rules = "rules", -- seen from this file
  from = "start", -- streams that this group has never read begin at their oldest entry; "end" is the default

  streams = { payment = { codec = "json" } }, -- "auto", the default, knows msgpack maps, JSON objects and plain fields
  outputs = {
    offers = { maxlen = 100000 },
    alerts = { maxlen = 10000, codec = "json" }, -- read by people
  },
  limits = { rule_ms = 50, effects = 100, state_kb = 16 },
  dlq_maxlen = 100000,
}
