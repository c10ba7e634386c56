-- The rule of loyalty.cases.jsonl beside it.
return {
  stream = "purchase",
  key = "user_id",
  on_event = function(event, ctx)
    ctx.state.spent = (ctx.state.spent or 0) + event.total
  end,
}
