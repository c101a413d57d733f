"""A page that answers a dropped or recorded clip, fast and slow side by side: Gradio's server, our model and our HTML.

model.py asks, view.py draws, page.py joins both to Gradio's components, serve.py serves, space.py writes a folder for
Hugging Face. Gradio is imported inside functions; whatever comes from a visitor or a model is text in the page.
"""
