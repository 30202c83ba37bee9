"""How answers behave towards the user: sycophancy, approval, behaviour only while supervised."""
