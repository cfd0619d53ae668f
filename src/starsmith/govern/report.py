"""stub"""
def write_report(store, out): out.write_text("")
def build_table(result): print(result.plain())
def status_table(result): print(result.plain())
